"""The command: exit codes, one-line errors, tables."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import searched_archs
from nasfpn_runtime.data.drawn import write_shapes
from tools.cli import COMMANDS, main


def test_every_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"^\s+{name}\b", text, re.MULTILINE), name


def test_archs_lists_every_shipped_genome_with_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["archs"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert set(searched_archs.names()) <= set(rows)
    # 60.08 M and 140.3 GMAC: facts of the published network, see test_cost.py.
    assert "60.1 M" in rows["nasfpn"]
    assert "140.3 G" in rows["nasfpn"]


@pytest.mark.parametrize(("dialect", "size"), [("mmdet", "60.0 M"), ("modelzoo", "85.9 M")])
def test_archs_by_recipe(dialect: str, size: str, capsys: pytest.CaptureFixture[str]) -> None:
    # 59,979,828 and 85,891,392: see test_golden_detectors.py.
    assert main(["archs", "--recipe", f"{dialect}-r50-7x256-640"]) == 0
    assert re.search(rf"^nasfpn .*{size}", capsys.readouterr().out, re.MULTILINE)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "data"
    write_shapes(folder, train=2, val=2, test=2, size=64)
    return folder


def mistakes(tmp: Path, shapes: Path) -> dict[str, tuple[list[str], str]]:
    empty = tmp / "empty"
    (empty / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (empty / split).mkdir()
        nothing = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}
        (empty / "annotations" / f"instances_{split}.json").write_text(json.dumps(nothing))
    broken = tmp / "broken.json"
    broken.write_text('{"version": 1, "cells": [')
    text = tmp / "text.ckpt"
    text.write_text("this is no checkpoint")
    recipe = tmp / "r.yaml"
    recipe.write_text("training: {epochs: many}\n")
    train = ["train", "--out", str(tmp / "out"), "--arch"]
    data = ["--data", str(shapes)]
    return {
        "unknown genome": (["draw", "nasfpm"], "nasfpn"),
        "broken genome": (["draw", str(broken)], "broken.json"),
        "unknown suffix": (["draw", "fpn", "-o", str(tmp / "a.gif")], "gif"),
        "no data": ([*train, "fpn", "--data", str(tmp / "nowhere")], "nowhere"),
        "empty data": ([*train, "fpn", "--data", str(empty)], "empty"),
        "unknown recipe": ([*train, "fpn", *data, "--recipe", "bccd-265"], "bccd-256"),
        "wrong type": ([*train, "fpn", *data, "--recipe", str(recipe)], "training.epochs"),
        "unknown key": ([*train, "fpn", *data, "--set", "training.epoch=1"], "epochs"),
        "out of range": ([*train, "fpn", *data, "--set", "training.lr=-1"], "lr is above 0"),
        "no lines": ([*train, "fpn", *data, "--log-every", "0"], "--log-every is 1 or more"),
        "no kernels": (
            [*train, "fpn", *data, "--set", "training.precision=bfloat16"],
            "needs --device Ascend",
        ),
        "unknown device": ([*train, "fpn", *data, "--device", "TPU"], "TPU"),
        "no checkpoint": (["eval", *data, "--checkpoint", str(tmp / "no.ckpt")], "no.ckpt"),
        "not a checkpoint": (["eval", *data, "--checkpoint", str(text)], "text.ckpt"),
        "unknown controller": (
            ["search", *data, "--out", str(tmp / "s"), "--recipe", "shapes", "--controller", "pp"],
            "ppo",
        ),
        "no trials": (
            ["search", *data, "--out", str(tmp / "s"), "--recipe", "shapes", "--trials", "0"],
            "trials",
        ),
        "no levels": (
            ["search", *data, "--out", str(tmp / "s"), "--recipe", "shapes", "--levels", "36"],
            "such as 3-6",
        ),
    }


def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, (argv, hint) in mistakes(tmp_path, shapes).items():
        assert main(argv) == 2, name
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("nasfpn: error: "), name
        assert hint in error, (name, error)


@pytest.mark.parametrize(
    "command",
    [
        "train --arch fpn --data d --seed",
        "data synth d --seed",
        "search --data d --out o --recipe shapes --seed",
        "quickstart --seed",
        "compare --data d --out o --seeds 0",
    ],
)
@pytest.mark.parametrize(
    ("value", "message"), [("-1", "a seed is 0 or more, got -1"), ("x", "invalid seed value: 'x'")]
)
def test_a_seed_is_checked_by_every_command(
    command: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), value])
    assert stop.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(message)


def test_a_bug_is_not_mistaken_for_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(args: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(COMMANDS["archs"], "run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["archs"])


@pytest.mark.parametrize(
    ("command", "goes_on"), [("archs", False), ("train --arch fpn --data d", True)]
)
def test_an_interrupt_says_how_to_go_on_where_that_works(
    command: str,
    goes_on: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(args: object) -> int:
        raise KeyboardInterrupt

    arguments = command.split()
    monkeypatch.setattr(COMMANDS[arguments[0]], "run", stop)
    assert main(arguments) == 130
    assert (f"goes on from here: nasfpn {command}" in capsys.readouterr().err) == goes_on


def test_the_installed_command_runs() -> None:
    command = Path(sys.executable).with_name("nasfpn")
    done = subprocess.run([command, "archs"], capture_output=True, text=True, check=True)
    assert "nasfpn" in done.stdout


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = "import sys; from tools.cli import main; sys.exit(main(['archs']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
