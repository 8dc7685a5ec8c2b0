"""The command: exit codes, one-line errors, streams, the table of `archs`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import searched_archs
from locations import ROOT
from nasfpn_runtime.data.drawn import write_shapes
from tools.cli import COMMANDS, main
from tools.errors import UsageError


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
    text.write_text("not a checkpoint")
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
        "out of range": ([*train, "fpn", *data, "--set", "training.lr=-1"], "training.lr=-1"),
        "no head": ([*train, "fpn", *data, "--drop-head"], "--init"),
        "no cells": ([*train, "fpn", *data, "--drop-cells"], "--drop-cells needs --init"),
        "nothing to freeze": ([*train, "fpn", *data, "--freeze-stages", "2"], "--init"),
        "no kernels": (
            [*train, "fpn", *data, "--set", "training.precision=bfloat16"],
            "--device Ascend",
        ),
        "no checkpoint": (["eval", *data, "--checkpoint", str(tmp / "no.ckpt")], "no.ckpt"),
        "not a checkpoint": (["eval", *data, "--checkpoint", str(text)], "text.ckpt"),
        "unknown controller": (
            ["search", *data, "--out", str(tmp / "s"), "--recipe", "shapes", "--controller", "pp"],
            "ppo",
        ),
        "nothing to compare": (
            ["compare", *data, "--out", str(tmp / "c"), "--controllers", "--archs"],
            "--controllers or --archs",
        ),
    }


def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, (argv, hint) in mistakes(tmp_path, shapes).items():
        assert main(argv) == 2, name
        *before, error = capsys.readouterr().err.strip().splitlines()
        assert error.startswith("nasfpn: error: "), name
        assert hint in error, (name, error)
        assert not any("Traceback" in line or "[WARNING]" in line for line in before), name


def test_an_error_of_several_lines_is_printed_as_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: object) -> int:
        raise UsageError("a\n\n  b\nc")

    monkeypatch.setattr(COMMANDS["archs"], "run", fail)
    assert main(["archs"]) == 2
    assert capsys.readouterr().err == "nasfpn: error: a b c\n"


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, ZeroDivisionError])
def test_a_bug_is_not_reported_as_a_user_error(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr(COMMANDS["archs"], "run", fail)
    with pytest.raises(error):
        main(["archs"])


@pytest.mark.parametrize(
    ("command", "resumable"), [("archs", False), ("train --arch fpn --data d", True)]
)
def test_an_interrupt_says_how_to_resume_if_the_command_can(
    command: str,
    resumable: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(args: object) -> int:
        raise KeyboardInterrupt

    arguments = command.split()
    monkeypatch.setattr(COMMANDS[arguments[0]], "run", stop)
    assert main(arguments) == 130
    assert capsys.readouterr().err.endswith(f": nasfpn {command}\n") == resumable


def test_the_installed_command_runs() -> None:
    command = Path(sys.executable).with_name("nasfpn")
    done = subprocess.run([command, "archs"], capture_output=True, text=True, check=True)
    assert "nasfpn" in done.stdout


def test_a_pipe_that_is_closed_early_is_no_error() -> None:
    code = "import sys; from tools.cli import main; sys.exit(main(['archs']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "train --arch fpn --data d",
        "eval --checkpoint a.ckpt --data d",
        "search --data d --recipe shapes-proxy -o o",
        "compare --data d --controllers -o o",
        "export a.ckpt --format mindir",
        "predict a.ckpt a.png",
        "import a.npz --source mmdet -o b.ckpt",
        "data create d -o o",
        "data split d -o o",
        "data convert d -o o --form coco",
        "bench parity",
        "bench threads",
    ],
)
def test_a_command_says_what_it_does_before_it_imports_mindspore(
    command: str, tmp_path: Path
) -> None:
    code = "import sys; sys.modules['mindspore'] = None\n"
    code += "from tools.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    name = " ".join(command.split()[: 2 if command.startswith(("data", "bench")) else 1])
    assert done.stderr.startswith(f"{name}: ")
    assert "\r" not in done.stderr


@pytest.mark.parametrize(("before", "after"), [(None, "3"), ("1", "1")])
def test_mindspore_logs_errors_only_unless_the_user_says_otherwise(
    before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOG_v", before or "")  # and so restored afterwards
    if before is None:
        monkeypatch.delenv("GLOG_v")
    assert main(["archs"]) == 0
    assert os.environ["GLOG_v"] == after  # noqa: SIM112 - MindSpore's spelling
