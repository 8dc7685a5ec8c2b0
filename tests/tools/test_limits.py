"""Huge numbers and inputs that expand are refused, in bounded time and memory."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controllers.errors import ControllerError
from controllers.registry import check_controller, controller_settings, create_sampler, names
from nasfpn_runtime.batches.buffers import BatchLayout
from nasfpn_runtime.bench.parity import write_random
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.recipe import memory
from nasfpn_runtime.recipe.memory import BUFFERS, check_training, host_memory, training_bytes
from nasfpn_runtime.recipe.recipe import Recipe, load_recipe
from nasfpn_runtime.training.schedule import MOST_STEPS, learning_rates
from search_space import Genome, MergingCell, NASFPNSpace
from search_space.codec import to_json
from search_space.errors import LONGEST_MESSAGE, LONGEST_VALUE, value_text
from searched_archs import load
from small_networks import GENOME, small_recipe
from tools.cli import main, make_parser
from tools.options import OutputType, Range

# Options with a value that is text: names, URLs, patterns and settings in KEY=VALUE.
TEXTS = {
    "--arch",
    "--archs",
    "--controller",
    "--controller-set",
    "--controllers",
    "--data",
    "--final-recipe",
    "--final-set",
    "--from",
    "--init",
    "--json",
    "--master",
    "--out",
    "--proxy",
    "--proxy-set",
    "--recipe",
    "--reference",
    "--reference-recipe",
    "--rung",
    "--set",
    "--split",
    "--splits",
    "--start",
    "--storage",
    "genomes",
    "inputs",
    "recipe",
}
LEVELS = "--levels"  # two numbers; its own type checks them
HUGE = ("1e9", "nan", "inf", "-inf", "1" * 30, "9" * 5000, "-" + "9" * 5000, "x" * 5000, "")


def options(parser: argparse.ArgumentParser, command: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each command with each of its options."""
    for action in parser._actions:  # argparse has no public list of them
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from options(inner, f"{command} {name}".strip())
        else:
            yield command, action


OPTIONS = list(options(make_parser()))
NUMBERS = [(command, action) for command, action in OPTIONS if isinstance(action.type, Range)]


def test_every_option_with_a_number_has_a_range() -> None:
    assert len(NUMBERS) > 20
    for command, action in OPTIONS:
        name = action.option_strings[-1] if action.option_strings else action.dest
        no_value = action.nargs == 0 or action.choices is not None
        kind = action.type.kind if isinstance(action.type, OutputType) else action.type
        if no_value or kind is Path or isinstance(kind, Range) or name == LEVELS:
            continue
        assert kind in (None, str), f"{command} {name} must have a Range"
        assert name in TEXTS, f"{command} {name} must have a Range, or be listed as text here"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "action"), NUMBERS, ids=[f"{c} {a.option_strings[-1]}" for c, a in NUMBERS]
)
def test_a_number_out_of_its_range_is_refused(
    command: str, action: argparse.Action, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = action.type
    assert isinstance(kind, Range)
    option = action.option_strings[-1]
    wrong = [*HUGE, str(kind.kind(kind.least) - 1), str(kind.kind(kind.most) + 1)]
    wrong += [str(kind.kind(kind.least))] if kind.above else []
    count = action.nargs if isinstance(action.nargs, int) else 1
    for value in wrong:
        with pytest.raises(SystemExit) as stop:
            main(
                [*command.split(), f"{option}={value}"]
                if count == 1
                else [*command.split(), option, *["64"] * (count - 1), value]
            )
        assert stop.value.code == 2
        message = capsys.readouterr().err.splitlines()[-1]
        assert option in message
        assert len(message) < 300
    for value in (kind.most, kind.least):
        if not (kind.above and value == kind.least):
            assert kind(str(kind.kind(value))) == value


@pytest.mark.parametrize("text", ["1-99999", "3", "7-3", "0-4", "3-11", "³-7", "9" * 5000, ""])
def test_levels_out_of_their_range_are_refused(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["search", "--data", "d", "--recipe", "shapes", "-o", "o", f"--levels={text}"])
    message = capsys.readouterr().err.splitlines()[-1]
    assert "--levels" in message
    assert len(message) < 300


def settings_of(kind: Any, path: str = "") -> Iterator[tuple[str, type, int]]:
    """Yield path, type and length of each setting with a number; the length of a number is 0."""
    hints = typing.get_type_hints(kind)
    for entry in fields(kind):
        here = f"{path}{entry.name}"
        inner = hints[entry.name]
        if typing.get_origin(inner) in (typing.Union, types.UnionType):
            inner = typing.get_args(inner)[0]
        length = 0
        if typing.get_origin(inner) is tuple:
            length = len([a for a in typing.get_args(inner) if a is not Ellipsis])
            inner = typing.get_args(inner)[0]
        if is_dataclass(inner) and not length:
            yield from settings_of(inner, f"{here}.")
        elif inner in (int, float):
            yield here, inner, length


@pytest.mark.parametrize(("path", "kind", "length"), list(settings_of(Recipe)))
def test_every_setting_of_a_recipe_has_an_upper_bound(path: str, kind: type, length: int) -> None:
    for value in (10**9, 10**30) if kind is int else (1e13, 1e300):
        written = json.dumps([value] * length if length else value)
        with pytest.raises(RecipeError, match=path.rpartition(".")[2]) as refusal:
            load_recipe("tf-r50-7x256-640", [f"{path}={written}"])
        assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("name", ["anchors.ratios", "training.milestones"])
def test_a_list_of_a_recipe_has_a_longest_length(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"{name} .* 100 entries, got 5,000"):
        load_recipe("shapes", [f"{name}={[1] * 5000}"])


def test_the_number_of_steps_of_a_run_is_bounded() -> None:
    training = load_recipe("shapes", ["training.epochs=100000"]).training
    with pytest.raises(RecipeError, match=rf"{MOST_STEPS:,} steps, got 100,000 x 201"):
        learning_rates(training, 201)
    ramp = "training.warmup=[{start: 0, stop: 1, epochs: 100000}]"
    slow = load_recipe("shapes", ["training.epochs=2", "training.warmup_epochs=0", ramp]).training
    assert len(learning_rates(slow, 10_000)) == 20_000


@pytest.mark.parametrize("controller", names())
def test_every_setting_of_a_controller_that_counts_has_an_upper_bound(controller: str) -> None:
    for key, setting in controller_settings(controller).items():
        if setting.kind is int:
            settings = check_controller(controller, {key: 10**9})
            with pytest.raises(ControllerError, match=rf"{key} .*got 1000000000"):
                create_sampler(controller, NASFPNSpace(), 0, settings)


def test_a_value_takes_a_part_of_a_line() -> None:
    nested: list[Any] = []
    for _ in range(60):
        nested = [nested] * 9
    for value in (nested, "x" * 10**6, 10**5000, {"a": "b" * 1000}, [*range(10**6)], "\n" * 500):
        text = value_text(value)
        assert len(text) <= LONGEST_VALUE
        assert "\n" not in text
    assert value_text([1, 2.5, "a"]) == "[1, 2.5, 'a']"


def test_the_estimate_lets_pass_what_was_run(monkeypatch: pytest.MonkeyPatch) -> None:
    genome = load("nasfpn")
    canonical = load_recipe("tf-r50-7x256-640", ["training.batch=2"])
    # Measured: 9.0 GB resident, see recipe/memory.py.
    assert 4e9 < training_bytes(canonical, genome, 2) < 9e9
    monkeypatch.setattr(memory, "host_memory", lambda: 24 << 30)
    check_training(canonical, genome)
    zoo = load_recipe("modelzoo-r50-7x256-640", ["training.batch=64"])
    check_training(zoo, genome, "Ascend", cards=8, here=8)
    with pytest.raises(RecipeError, match=r"batches of 64 images of 640x640 px .*25\.8 GB.*17\d"):
        check_training(zoo, genome)
    check_training(load_recipe("modelzoo-r50-7x256-640", ["training.accumulate=64"]), genome)
    with pytest.raises(RecipeError, match=r"model\.width|sizes of the model"):
        check_training(load_recipe("tf-r50-7x256-640", ["model.width=4096"]), genome)


@pytest.mark.parametrize("octaves", [1, 20])
def test_the_estimate_has_the_buffers_of_batches(octaves: int) -> None:
    settings = ["training.batch=64", "training.accumulate=16", f"anchors.octaves={octaves}"]
    recipe, genome = load_recipe("shapes", [*settings, "data.image=[100,300]"]), load("nasfpn")
    size = recipe.image_size(genome.levels)
    layout = BatchLayout(64, size, len(recipe.anchor_boxes(genome.levels)))
    on_host = training_bytes(recipe, genome, 4, on_host=False)  # 16 parts of 4 images
    assert on_host == BUFFERS * (layout.bytes - 64 * 8)  # without the sizes, 8 bytes an image


def test_a_limit_of_the_process_counts_as_its_memory() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 33, -1)); "
        "from nasfpn_runtime.recipe.memory import host_memory; print(host_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == min(1 << 33, host_memory())


LAUGHS = "\n".join(
    ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
)

# Arguments of commands that would not end, or take all memory; {} is the folder of `hostile`.
HOSTILE = [
    "train --arch nasfpn --data {}/shapes --recipe shapes -o {}/o --set training.batch=100000000",
    "train --arch nasfpn --data {}/shapes --recipe shapes -o {}/o --set training.batch=65536 "
    "--set data.image=[4096,4096]",
    "train --arch nasfpn --data {}/shapes --recipe shapes -o {}/o --set data.image=[16384,16384]",
    "train --arch nasfpn --data {}/shapes --recipe shapes -o {}/o --set model.width=4096 "
    "--set model.channels=8192",
    "train --arch nasfpn --data {}/shapes --recipe shapes -o {}/o --set model.stacks=100000",
    "train --arch nasfpn --data {}/shapes --recipe shapes -o {}/o --set anchors.octaves=100000000",
    "train --arch nasfpn --data {}/shapes --recipe shapes -o {}/o --set data.augment.scale=[1,1e9]",
    "train --arch {}/cells.json --data {}/shapes --recipe shapes -o {}/o",
    "train --arch {}/zero.json --data {}/shapes --recipe shapes -o {}/o",
    "train --arch nasfpn --data {}/shapes --recipe {}/laughs.yaml -o {}/o",
    "search --data {}/shapes --recipe shapes-proxy -o {}/o --set data.image=[16384,16384] "
    "--set training.batch=64",
    "search --data {}/shapes --recipe shapes-proxy -o {}/o --intermediate-cells 100000000",
    "search --data {}/shapes --recipe shapes-proxy -o {}/o --controller evolution "
    "--controller-set population=1000000000",
    "search --data {}/shapes --recipe shapes-proxy -o {}/o --controller ppo "
    "--controller-set hidden=1000000000",
    "search --data {}/shapes --recipe shapes-proxy -o {}/o --timeout nan",
    "compare --data {}/shapes --controllers --archs nasfpn --recipe tf-r50-7x256-640 -o {}/o "
    "--set data.image=[16384,16384]",
    "recipes {}/laughs.yaml",
    "recipes {}/deep.yaml",
    "recipes {}/long.yaml",
    "recipes {}/zero.yaml",
    "recipes shapes --set training.epochs=[[[[[[[[[[1]]]]]]]]]]",
    "import-config {}/laughs.yaml -o {}/r.yaml",
    "draw {}/cells.json -o {}/x.svg",
    "draw {}/deep.json -o {}/x.svg",
    "draw {}/names.json -o {}/x.svg",
    "draw {}/zero.json -o {}/x.svg",
    "data synth {}/o --size 100000000",
    "data synth {}/o --size 4096 --train 1000000",
    "data check {}/laughing --format yolo",
    "export {}/a.ckpt --format onnx --size 16384 16384 -o {}/a.onnx",
    "predict {}/a.ckpt {}/shapes/val2017 --batch 1025 -o {}/o",
    "import {}/claims.npz --source torchvision --recipe shapes -o {}/i.ckpt",
]
SECONDS, BYTES = 60, 12 << 30


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small dataset, a checkpoint, and files that expand or do not end."""
    folder = tmp_path_factory.mktemp("hostile")
    write_shapes(folder / "shapes", train=2, val=2, test=1, size=64)
    write_random(folder / "a.ckpt", small_recipe(), GENOME)
    (folder / "laughs.yaml").write_text(LAUGHS)
    (folder / "deep.yaml").write_text("a: " + "[" * 20_000)
    (folder / "long.yaml").write_text("model: " + "x" * 500_000)
    (folder / "deep.json").write_text("[" * 200_000)
    genome = json.loads(to_json(GENOME))
    many = [{"level": 3, "op": "sum", "inputs": [0, 1]}] * 2000
    (folder / "cells.json").write_text(json.dumps({**genome, "cells": many + genome["cells"]}))
    (folder / "names.json").write_text(json.dumps({**genome, "x" * 200_000: 1}))
    for name in ("zero.json", "zero.yaml"):
        (folder / name).symlink_to("/dev/zero")
    yolo = folder / "laughing"
    (yolo / "images" / "train").mkdir(parents=True)
    (yolo / "labels" / "train").mkdir(parents=True)
    (yolo / "data.yaml").write_text(LAUGHS + "\nnames: *a29\n")
    _write_npz_that_claims(folder / "claims.npz")
    return folder


def _write_npz_that_claims(path: Path) -> None:
    """Write an archive with an array that claims to have 10^15 numbers."""
    import zipfile

    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,), }"
    header = header.ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))


@pytest.mark.slow
@pytest.mark.parametrize("template", HOSTILE)
def test_hostile_numbers_and_files_are_refused_in_bounded_time_and_memory(
    hostile: Path, template: str
) -> None:
    arguments = [part.replace("{}", str(hostile)) for part in template.split()]
    before = sorted(hostile.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "tools", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        preexec_fn=_limit,
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert "error: " in message, message
    assert len(message) <= LONGEST_MESSAGE + 100
    print(message)
    assert sorted(hostile.rglob("*")) == before


def test_a_random_genome_of_the_largest_space_is_within_the_limit_of_a_genome() -> None:
    space = NASFPNSpace((1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 50)
    assert len(space.sample(np.random.default_rng(0)).cells) == 60


def test_a_genome_with_too_many_inputs_is_not_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [MergingCell(3 + i % 5, "sum", tuple(range(5 + i))) for i in range(100)]
    (tmp_path / "dense.json").write_text(to_json(Genome(tuple(cells))))
    assert main(["draw", str(tmp_path / "dense.json"), "-o", str(tmp_path / "a.svg")]) == 2
    assert "400 inputs together, got 5450" in capsys.readouterr().err
    assert not (tmp_path / "a.svg").exists()
