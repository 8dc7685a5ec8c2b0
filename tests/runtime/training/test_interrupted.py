"""SIGINT and SIGTERM in a run that saves no checkpoints by itself, and numbers that are none."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor

from locations import TWO_LEVELS
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.errors import DataError, DivergedError
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.training import run as run_module
from nasfpn_runtime.training.runlog import RunLog, RunOptions
from nasfpn_runtime.training.step import TrainStep
from nasfpn_runtime.training.train import train
from runs import SMALL, metrics, train_command
from search_space import load_genome
from tools.cli import main

pytestmark = pytest.mark.slow
SETTINGS = [*SMALL, "training.batch=2", "training.epochs=5", "training.evaluate_every=2"]
SETTINGS += ["training.save_every=0", "training.keep=2", "data.background=0.5"]
SETTINGS += ["training.ema=0.9", "training.dropblock={keep: 0.8}"]
STEPS = 3  # in an epoch
GENOME = load_genome(TWO_LEVELS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    write_shapes(folder, train=2 * STEPS, val=2, test=1, size=64)
    file = folder / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    empty = [image["id"] for image in content["images"][::2]]  # one in each batch of two
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] not in empty]
    file.write_text(json.dumps(content))
    return folder


def run(data: Path, out: Path) -> int:
    _, _, _, *arguments = train_command(data, out, SETTINGS, arch=TWO_LEVELS)
    return main(arguments)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was not interrupted."""
    out = tmp_path_factory.mktemp("whole")
    assert run(data, out) == 0
    return out


def at_call(
    patch: pytest.MonkeyPatch, owner: Any, name: str, count: int, act: Callable[[], None]
) -> None:
    """Call ``act`` in the middle of the call with that number: a part of it is done before."""
    function, calls = getattr(owner, name), 0

    def call(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and name == "score":  # before, as it may change nothing
            act()
        result = function(*args, **options)
        if calls == count and name != "score":
            act()
        return result

    patch.setattr(owner, name, call)


# Where a run is interrupted, one after another, and the epoch and step of the checkpoint it leaves.
MOMENTS: list[tuple[Any, str, int, signal.Signals, tuple[int, int]]] = [
    (TrainStep, "__call__", 2, signal.SIGINT, (0, 2)),  # in an epoch, after the first step
    (TrainStep, "__call__", 2, signal.SIGTERM, (1, 1)),  # in the next
    (run_module, "score", 1, signal.SIGINT, (1, STEPS)),  # in the evaluation that follows
    (RunLog, "end_epoch", 1, signal.SIGTERM, (1, STEPS)),  # its line is written
    (RunLog, "end_step", STEPS + 1, signal.SIGINT, (3, 1)),
    (checkpoint, "save", 1, signal.SIGINT, (5, 0)),  # the last checkpoint is written
]


def test_an_interrupted_run_ends_as_one_never_interrupted(
    whole: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for owner, name, count, number, position in MOMENTS:
        with pytest.MonkeyPatch.context() as patch:
            at_call(patch, owner, name, count, lambda number=number: signal.raise_signal(number))  # type: ignore[misc]
            # 143 for either: in a step, MindSpore turns SIGINT into SIGTERM.
            assert run(data, tmp_path) in (128 + number, 143), (name, position)
        shown = capsys.readouterr().err
        _, origin = checkpoint.load(tmp_path / "checkpoints" / "last.ckpt")
        assert origin.position == position, name
        epoch, step = position
        where = f"step {step} of {STEPS} in epoch {epoch + 1}" if step else f"epoch {epoch} of 5"
        assert f"the last checkpoint is after {where}" in shown
        assert "same command" in shown
    assert run(data, tmp_path) == 0
    assert metrics(tmp_path) == metrics(whole)
    for file in ("last.ckpt", "best.ckpt"):
        (actual, actually), (expected, wanted) = (
            checkpoint.load(out / "checkpoints" / file) for out in (tmp_path, whole)
        )
        assert actually == wanted
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(actual[name], value, err_msg=name)


def test_an_interrupt_before_the_first_step_says_that_nothing_is_saved(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_call(monkeypatch, run_module, "make_inputs", 1, lambda: signal.raise_signal(signal.SIGINT))
    assert run(data, tmp_path) in (130, 143)
    assert f"no checkpoint in {tmp_path}" in capsys.readouterr().err
    assert not (tmp_path / "checkpoints").exists()


def test_an_error_in_an_epoch_loses_no_step_before_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise DataError("the image is gone")

    at_call(monkeypatch, run_module, "make_inputs", 2, fail)
    recipe = load_recipe("shapes", SETTINGS)
    with pytest.raises(DataError, match="gone"):
        train(recipe, GENOME, data, tmp_path, options=RunOptions(False))
    _, origin = checkpoint.load(tmp_path / "checkpoints" / "last.ckpt")
    assert origin.position == (0, 1)


@pytest.mark.parametrize("kind", ["weights", "averages"])
def test_a_last_step_without_finite_numbers_is_not_saved(
    kind: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of a step is that before its update, so it does not show what the update did."""
    settings = [*SETTINGS, "training.epochs=2", "training.evaluate_every=1"]
    recipe = load_recipe("shapes", [*settings, "training.save_every=1"])
    steps: list[TrainStep] = []
    call = TrainStep.__call__

    def step(self: TrainStep, *parts: Any) -> Any:
        outcome = call(self, *parts)
        steps.append(self)
        if len(steps) == 2 * STEPS:
            update = self.update
            parameter = (update.averages if kind == "averages" else update.weights)[0]
            broken = parameter.asnumpy().copy()
            broken.flat[0] = np.inf
            parameter.set_data(Tensor(broken))
        return outcome

    monkeypatch.setattr(TrainStep, "__call__", step)
    with pytest.raises(DivergedError, match=r"finite, got inf in .*training\.lr"):
        train(recipe, GENOME, data, tmp_path, options=RunOptions(False))
    assert len(steps) == 2 * STEPS
    assert len(metrics(tmp_path)) == 1
    for file in ("last.ckpt", "best.ckpt"):
        arrays, origin = checkpoint.load(tmp_path / "checkpoints" / file)
        assert origin.position == (1, 0)
        assert all(np.isfinite(array).all() for array in arrays.values())


def test_results_that_say_nothing_are_warned_of(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "data", tmp_path / "out"
    write_shapes(folder, train=3, val=1, test=1, size=64)
    file = folder / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 3]
    file.write_text(json.dumps(content))
    file = folder / "annotations" / "instances_val2017.json"
    text = file.read_text()
    for label in (2, 3):  # all boxes are of the first category
        text = text.replace(f'"category_id": {label}', '"category_id": 1')
    file.write_text(text)
    settings = [*SMALL, "training.batch=4", "training.epochs=1"]
    train(load_recipe("shapes", settings), GENOME, folder, out)
    shown, logged = capsys.readouterr().err, (out / "train.log").read_text()
    assert "\nimages left out of training: 1 without boxes (add --set data.background=" in shown
    for words in ("2 for 4", "val split has no box of", "AP is exactly 0"):
        assert sum(words in line for line in shown.splitlines()) == 1, words
        assert sum(words in line for line in logged.splitlines()) == 1, words
    capsys.readouterr()
    arguments = ["eval", "--checkpoint", str(out / "checkpoints" / "last.ckpt")]
    assert main([*arguments, "--data", str(folder)]) == 0
    shown = capsys.readouterr().err
    assert "warning: AP is exactly 0" in shown
    assert "no box to score is of" in shown
