"""Names of classes, recipes, genomes and files as hostile input of the commands."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import searched_archs
from locations import TWO_LEVELS
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.inference.engines.registry import read_description
from nasfpn_runtime.recipe.settings import Reading
from runs import SMALL, metrics
from search_space.codec import save_genome
from search_space.names import shown, unique
from stub_trainings import Trainings
from tools.cli import main

# Formulas, escape codes, line breaks, NUL, bytes that are not UTF-8, length.
CLASSES = (
    "$\\frac{1$",
    "$$",
    "a\nb",
    "\x1b[31mred\x07",
    "nul\0",
    "<&>|\\",
    "x" * 2000,
    "\u202eright to left",
    "fish",
    "fish (2)",
    "",
)
OVERRIDES = [word for text in (*SMALL, "training.epochs=1") for word in ("--set", text)]


def write_hostile(folder: Path) -> None:
    """Write a dataset whose classes and files have hostile names; each class has boxes."""
    write_shapes(folder, train=12, val=12, test=12, size=64)
    for file in (folder / "annotations").iterdir():
        data = json.loads(file.read_text())
        data["categories"] = [{"id": n, "name": name} for n, name in enumerate(CLASSES, 1)]
        for index, entry in enumerate(data["annotations"]):
            entry["category_id"] = index % len(CLASSES) + 1
        image = data["images"][0]
        name = "$\\frac{1$ \x1b[31m\n.png"
        images = folder / file.stem.removeprefix("instances_")
        (images / image["file_name"]).rename(images / name)
        image["file_name"] = name
        file.write_text(json.dumps(data))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names") / "data"
    write_hostile(folder)
    return folder


def check_printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Check that what was printed has no control character; return the lines of stdout."""
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert all(line.isprintable() for line in text.split("\n")), repr(text)
        assert max(map(len, text.split("\n"))) < 1000
    return printed.out.split("\n")


def run(*words: object) -> int:
    return main(list(map(str, words)))


@pytest.mark.slow
def test_every_command_that_shows_names_of_classes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No class may lose its row, its id or its AP."""
    monkeypatch.chdir(tmp_path)
    keys = unique(CLASSES)
    titles = [shown(key) for key in keys]

    assert run("data", "check", data) == 0
    table = check_printed(capsys)
    for title in titles:
        assert sum(line.startswith(f"  {title} ") for line in table) >= 1, title
    for suffix in (".png", ".svg", ".pdf"):
        assert run("data", "show", data, "-o", f"sheet{suffix}") == 0
    assert run("data", "create", data, "-o", "record", "--shards", "1") == 0
    check_printed(capsys)
    assert load_split(Path("record")).categories == CLASSES

    train = ["train", "--arch", TWO_LEVELS, "--data", data, "--recipe", "shapes", *OVERRIDES]
    assert run(*train, "-o", "run") == 0
    check_printed(capsys)
    (line,) = metrics(Path("run"))
    assert [key[3:] for key in line if key.startswith("AP/")] == list(keys)
    assert Path("run/train.log").read_text().isprintable() is False  # has line breaks
    assert all(text.isprintable() for text in Path("run/train.log").read_text().split("\n"))

    checkpoint = "run/checkpoints/best.ckpt"
    assert run("eval", "--checkpoint", checkpoint, "--data", data) == 0
    rows = [line for line in check_printed(capsys) if " AP " in line]
    assert [row.split(" AP ")[0].rstrip() for row in rows[-len(keys) :]] == titles

    assert run("export", checkpoint, "--format", "onnx", "-o", "m.onnx") == 0
    assert read_description(Path("m.onnx")).names == CLASSES
    for model in (checkpoint, "m.onnx"):
        words = [model, data / "test2017", "-o", f"out-{Path(model).stem}", "--score", "0"]
        assert run("predict", *words, "--json", "r.json", "--overwrite") == 0
        check_printed(capsys)
        entries = json.loads(Path("r.json").read_text())
        ids = {(entry["category_id"], entry["category"]) for entry in entries}
        assert len(ids) > 3
        assert ids <= set(enumerate(CLASSES, 1))

    # Errors, too.
    write_shapes(tmp_path / "shapes", train=2, val=2, test=2, size=64)
    assert run("eval", "--checkpoint", checkpoint, "--data", "shapes") == 2
    check_printed(capsys)
    assert run("train", "--arch", "fpn", "--data", "shapes", "--init", checkpoint, *OVERRIDES) == 2
    check_printed(capsys)


@pytest.mark.slow
def test_classes_of_one_name_are_refused_or_merged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shapes(tmp_path / "data", train=4, val=4, test=4, size=64)
    for file in (tmp_path / "data" / "annotations").iterdir():
        data = json.loads(file.read_text())
        for entry in data["categories"][:2]:
            entry["name"] = "fish"
        file.write_text(json.dumps(data))
    split = load_split(tmp_path / "data", reading=Reading(merge_names=True))
    assert run("data", "check", tmp_path / "data") == 2
    assert "got fish for the ids" in capsys.readouterr().err
    assert run("data", "check", tmp_path / "data", "--merge-names") == 0
    (row,) = [line for line in capsys.readouterr().out.split("\n") if "fish" in line]
    assert row.split()[2] == str((split.truth.label == 0).sum())  # test, train, val
    train = ["train", "--arch", TWO_LEVELS, "--data", tmp_path / "data", *OVERRIDES]
    assert run(*train, "-o", tmp_path / "run") == 2
    assert run(*train, "-o", tmp_path / "run", "--set", "data.merge_names=true") == 0
    (line,) = metrics(tmp_path / "run")
    assert [key[3:] for key in line if key.startswith("AP/")] == list(split.categories)
    assert len(split.categories) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["$\\frac{1$", "a\nb", "\x1b[31m", "x" * 240, "a\udcff", "_a"])
@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_names_of_genome_files_in_drawings(
    name: str,
    suffix: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    save_genome(searched_archs.load("fpn"), f"{name}.json")
    assert run("draw", f"{name}.json", "-o", f"a{suffix}") == 0
    assert run("draw", "nasfpn", f"{name}.json", "-o", f"b{suffix}") == 0
    check_printed(capsys)
    if suffix == ".png":
        with Image.open("a.png") as picture:
            assert max(picture.size) < 5000


HARMFUL = ("../../x", "/abs", "..", "a\nb", "\x1b[1m", "nul\0", "", "x" * 500)
FILES = ("a\nb", "\x1b[1m")  # those that a file can have as its own name


@pytest.mark.parametrize(
    ("name", "given"),
    [(name, given) for name in HARMFUL for given in ("name in the file", "--set")]
    + [(name, "name of the file") for name in FILES],
)
def test_the_name_of_a_recipe_becomes_a_path_only_if_it_may(
    name: str,
    given: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    recipe, more = "r.yaml", []
    if given == "--set":
        Path(recipe).write_text("{}")
        more = ["--set", f"name={json.dumps(name)}"]
    elif given == "name of the file":
        recipe = f"{name}.yaml"
        Path(recipe).write_text("{}")
    else:
        Path(recipe).write_text(json.dumps({"name": name}))
    before = sorted(tmp_path.rglob("*"))
    assert run("train", "--arch", "fpn", "--data", data, "--recipe", recipe, *more) == 2
    error = capsys.readouterr().err
    assert error.startswith("nasfpn: error: name must be ")
    assert error.rstrip("\n").isprintable()
    assert len(error) < 1100
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("words", [["train", "--recipe", "shapes"], ["draw"], ["compare"]])
@pytest.mark.parametrize("name", ["a\nb", ".", "-o", "x" * 200])
def test_the_name_of_a_genome_becomes_a_path_only_if_it_may(
    name: str,
    words: list[str],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name ``.`` is that of the file ``..json``."""
    monkeypatch.chdir(tmp_path)
    file = f"./{name}.json" if name != "." else "...json"
    save_genome(searched_archs.load("fpn"), file)
    options: dict[str, list[Any]] = {
        "train": ["--data", data, "--arch", file],
        "draw": [file],
        "compare": ["--data", data, "--controllers", "-o", "out", "--archs", file],
    }
    assert run(*words, *options[words[0]]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("nasfpn: error: the name of a genome")
    assert error.isprintable()
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.slow
def test_paths_are_escaped_where_they_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("\x1b[31m\u202e")
    folder.mkdir()
    save_genome(searched_archs.load("fpn"), folder / "g.json")
    save_genome(searched_archs.load("bifpn"), "g.json")
    Path("zoo.yaml").write_text("{}")
    few = ["--train", "2", "--val", "1", "--test", "1", "--size", "64"]
    assert run("data", "synth", folder / "data", *few) == 0
    assert run("data", "show", folder / "data", "-o", folder / "a.png") == 0
    assert run("data", "create", folder / "data", "-o", folder / "record", "--shards", "1") == 0
    assert run("draw", folder / "g.json", "-o", folder / "a.svg") == 0
    assert run("import-config", "zoo.yaml", "-o", folder / "r.yaml") == 0
    data = ["--data", folder / "data"]
    train = ["train", "--arch", TWO_LEVELS, *data, "--recipe", "shapes", *OVERRIDES]
    assert run(*train, "-o", folder / "run") == 0
    checkpoint = folder / "run" / "checkpoints" / "best.ckpt"
    assert run("export", checkpoint, "--format", "onnx", "-o", folder / "a.onnx") == 0
    Trainings(monkeypatch)
    compare = ["compare", *data, "--controllers", "--recipe", "shapes", "--seeds", "0", *OVERRIDES]
    assert run(*compare, "--archs", folder / "g.json", "g.json", "-o", folder / "c") == 0
    assert any("\\x1b[31m\\u202e/g.json |" in line for line in check_printed(capsys))


def test_the_name_of_a_split_stays_in_its_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("../train", "a\n\x1b[1m", "", "x/y", "nul\0"):
        out = tmp_path / "out"
        assert run("data", "create", data, "-o", out, "--splits", split) == 2
        assert run("data", "show", data, "-o", tmp_path / "a.png", "--split", split) == 2
        assert "a split must be" in check_error(capsys)
        assert os.listdir(tmp_path) == []


def check_error(capsys: pytest.CaptureFixture[str]) -> str:
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.isprintable()
    return line
