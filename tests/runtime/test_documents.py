"""YAML and JSON of users: a key that occurs twice is refused wherever they are read."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats import draw, make
from locations import ROOT
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.documents import MAX_VALUES, parse_json, parse_yaml
from nasfpn_runtime.errors import DocumentError
from nasfpn_runtime.importers.readers import read_arrays
from nasfpn_runtime.importers.zoo_config import read_values
from nasfpn_runtime.inference.description import describe
from nasfpn_runtime.inference.description import from_json as read_description
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.training.runfolder import write_settings
from search_space.errors import UserError
from small_networks import GENOME


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a: 1\nb: 2\na: 3", "'a'", 3),
        ("a: 1\n'a': 1", "'a'", 2),  # also if the values are the same
        ("x:\n  - {a: 1,\n     a: 2}", "'a'", 3),
        ("x: {y: {z: 1}}\nb: [{c: {d: 1, e: 2, d: 3}}]", "'d'", 2),
        ("1: a\n0x1: b", "1", 2),
        ("yes: a\ntrue: b", "True", 2),
        ("a: &b {c: 1}\nd: *b\n? a\n: 2", "'a'", 3),
        ("? {a: 1, a: 2}\n: b", "'a'", 1),
        ("a: &a {x: 1}\nb: {<<: *a, <<: *a}", "'<<'", 2),
    ],
)
def test_a_key_twice_in_yaml_is_named_with_its_line(text: str, key: str, line: int) -> None:
    for given_text in (text, text.encode(), text.encode("utf-16")):
        with pytest.raises(DocumentError, match=rf"got {key} twice \(at line {line} of f\)$"):
            parse_yaml(given_text, "f")


def test_mappings_may_override_what_they_merge() -> None:
    # `c` merges a mapping before PyYAML builds that mapping itself, which is deeper.
    text = "x: {y: &b {<<: &a {k: 1, l: 2}, k: 3}}\nc: {<<: *b, m: 4}\nd: {<<: *a, l: 5}"
    content = parse_yaml(text, "f")
    assert content["x"]["y"] == {"k": 3, "l": 2}
    assert content["c"].keys() == {"k", "l", "m"}
    assert content["d"] == {"k": 1, "l": 5}
    assert parse_yaml("- {a: 1}\n- {a: 2}", "f") == [{"a": 1}, {"a": 2}]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", r"expected .* \(at line 1 of f\)"),
        ("a: 1\nb: c: d", r"not allowed here \(at line 2 of f\)"),
        ("\x00", r"special characters .* \(at f\)"),
        ("a: 1\n--- \nb: 2", r"another document \(at line 2 of f\)"),
        ("? [a]\n: 1", r"unhashable key \(at line 1 of f\)"),
        ("!!int x", r"invalid literal .* \(at f\)"),
        ("a: *b", r"undefined alias 'b' \(at line 1 of f\)"),
        (b"\xff", r"\(at f\)"),
        ("[" * 100_000, r"recursion .* \(at f\)"),
    ],
)
def test_a_text_that_is_not_yaml_is_one_line(text: str | bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=rf"{reason}$") as caught:
        parse_yaml(text, "f")
    assert "\n" not in str(caught.value)


def test_a_few_lines_that_stand_for_billions_of_values_are_refused() -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    with pytest.raises(DocumentError, match=rf"at most {MAX_VALUES:,} .*\(at line \d of f\)"):
        parse_yaml("\n".join(lines), "f")
    itself = parse_yaml("&a [*a, 1]", "f")
    assert itself[0] is itself


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ('{"a": 1,\n "b": 2,\n "a": 1}', "a", 3),
        ('[{"a": 1}, {"a": 1},\n {"b": {"c": "}{", "c": 2}, "c": 1}]', "c", 2),
        ('{"a": "\\"b\\":",\n "a\\u0062": 1, "ab": 2}', "ab", 2),
    ],
)
def test_a_key_twice_in_json_is_named_with_its_line(text: str, key: str, line: int) -> None:
    for given_text in (text, text.encode(), text.encode("utf-16")):
        with pytest.raises(DocumentError, match=rf"got '{key}' twice \(at line {line} of f\)$"):
            parse_json(given_text, "f")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1,\n}', r"in column \d \(at line 2 of f\)"),
        (b"\xff", r"\(at f\)"),
        ("[" * 100_000, r"recursion .* \(at f\)"),
    ],
)
def test_a_text_that_is_not_json_is_one_line(text: str | bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=rf"{reason}$"):
        parse_json(text, "f")


_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=15,
)


@given(data=_DATA)
def test_json_without_repeated_keys_is_read_as_written(data: object) -> None:
    assert parse_json(json.dumps(data), "f") == data
    assert parse_json(json.dumps(data, indent=1).encode(), "f") == data


@given(before=_DATA, key=st.text(), values=st.tuples(_DATA, _DATA))
def test_a_repeated_key_is_found_behind_anything(
    before: object, key: str, values: tuple[object, object]
) -> None:
    name, one, two = json.dumps(key), *map(json.dumps, values)
    text = f"[{json.dumps(before)},\n {{{name}: {one},\n  {name}: {two}}}]"
    with pytest.raises(DocumentError) as caught:
        parse_json(text, "f")
    assert str(caught.value).endswith(f"got {key!r} twice (at line 3 of f)")


def recipe(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("training:\n  epochs: 5\n  epochs: 6\n")
    load_recipe(tmp_path / "r.yaml")


def override(tmp_path: Path) -> None:
    load_recipe("shapes", ["training={epochs: 5, epochs: 6}"])


def zoo_settings(tmp_path: Path) -> None:
    (tmp_path / "default_config.yaml").write_text("lr: 0.1\nkeep: 5\nlr: 0.2\n---\nlr: help")
    read_values(tmp_path / "default_config.yaml")


def zoo_override(tmp_path: Path) -> None:
    settings = tmp_path / "default_config.yaml"
    settings.write_text("lr: 0.1\n")
    read_values(settings, ["lr={a: 1, a: 2}"])


def yolo(tmp_path: Path) -> None:
    folder = make(tmp_path, "yolo", draw(seed=5))
    (folder / "data.yaml").write_text("train: images/train\nnames:\n  0: a\n  1: b\n  1: c\n")
    load_split(folder)


def coco(tmp_path: Path) -> None:
    folder = make(tmp_path, "coco", draw(seed=5))
    file = folder / "annotations" / "instances_train2017.json"
    file.write_text(file.read_text().strip()[:-1] + ',\n"images": []}')
    load_split(folder)


def coco_annotation(tmp_path: Path) -> None:
    folder = make(tmp_path, "coco", draw(seed=5))
    file = folder / "annotations" / "instances_train2017.json"
    file.write_text(file.read_text().replace('"bbox"', '"bbox": [0, 0, 1, 1], "bbox"', 1))
    load_split(folder)


def mindrecord(tmp_path: Path) -> None:
    folder = make(tmp_path, "mindrecord-coco", draw(seed=5))
    file = folder / "mindrecord.json"
    file.write_text(file.read_text().strip()[:-1] + ',\n"splits": {}}')
    load_split(folder)


def description(tmp_path: Path) -> None:
    text = describe(load_recipe("shapes"), GENOME, ("a",)).to_json()
    read_description(text[:-1] + ', "names": ["b"]}', "m.onnx")


def checkpoint(tmp_path: Path) -> None:
    text = Origin(load_recipe("shapes"), GENOME, ("a",), 0, 0).to_json()
    Origin.from_json(text[:-1] + ', "seed": 1}', tmp_path / "c.ckpt")


def run_folder(tmp_path: Path) -> None:
    run = Origin(load_recipe("shapes"), GENOME, ("a",), 0, 0)
    write_settings(tmp_path, run)
    with (tmp_path / "config.yaml").open("a") as file:
        file.write("description: another\n")
    write_settings(tmp_path, run)


def safetensors(tmp_path: Path) -> None:
    entry = '"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    header = f"{{{entry}, {entry}}}".encode()
    content = len(header).to_bytes(8, "little") + header + bytes(4)
    (tmp_path / "a.safetensors").write_bytes(content)
    read_arrays(tmp_path / "a.safetensors")


# What reads a text with a key twice -> the key, and where the message says it is.
PLACES: dict[Callable[[Path], None], tuple[str, str]] = {
    recipe: ("epochs", r"line 3 of .*r\.yaml"),
    override: ("epochs", r"--set training=.*"),
    zoo_settings: ("lr", r"line 3 of .*default_config\.yaml"),
    zoo_override: ("a", r"--set lr=.*"),
    yolo: ("1", r"line 5 of .*data\.yaml"),
    coco: ("images", r"line 2 of .*train2017\.json"),
    coco_annotation: ("bbox", r"line 1 of .*train2017\.json"),
    mindrecord: ("splits", r"line \d+ of .*mindrecord\.json"),
    description: ("names", r"line 1 of m\.onnx"),
    checkpoint: ("seed", r"line 1 of .*c\.ckpt"),
    run_folder: ("description", r"line \d+ of .*config\.yaml"),
    safetensors: ("a", r"line 1 of its header"),
}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_key_twice_is_refused_wherever_a_file_of_users_is_read(
    place: Callable[[Path], None], tmp_path: Path
) -> None:
    key, where = PLACES[place]
    with pytest.raises(UserError, match=rf"got '?{key}'? twice \(at {where}\)$"):
        place(tmp_path)


# Modules that may call a parser themselves, and what they read with it.
OWN = {
    "nasfpn_runtime/documents.py": "documents of users",
    "search_space/codec.py": "genomes; it refuses a key twice, too",
    "nasfpn_runtime/network/checkpoint.py": "a genome that it has just written",
    "nasfpn_runtime/training/runlog.py": "lines of metrics.jsonl",
    "nasfpn_runtime/training/curves.py": "lines of metrics.jsonl",
    "nasfpn_runtime/bench/step.py": "the output of a child process",
    "nasfpn_runtime/bench/compile.py": "the output of a child process",
    "nasfpn_runtime/bench/data.py": "the output of a child process; annotations read before",
    "nasfpn_runtime/data/drawn.py": "annotations, only to compare them with drawn ones",
    "nasfpn_runtime/data/mindrecord.py": "ids of images; their shard has a checksum",
    "tools/compare.py": "scores.json, which is compared with its run and replaced",
    "controllers/worker.py": "messages between processes",
    "controllers/journal.py": "lines of study.journal",
    "controllers/study.py": "an identity that it has just written",
    "controllers/identity.py": "an identity that it has just written",
}
PARSER = re.compile(r"(json\.loads?|yaml\.\w*load\w*)$")


def test_no_other_module_parses_yaml_or_json() -> None:
    packages = ("search_space", "searched_archs", "nasfpn_runtime", "controllers", "tools")
    parsing = set()
    for path in (file for package in packages for file in (ROOT / package).rglob("*.py")):
        calls = (
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        )
        if any(PARSER.match(ast.unparse(call.func)) for call in calls):
            parsing.add(path.relative_to(ROOT).as_posix())
    assert parsing <= set(OWN), "use nasfpn_runtime.documents"
