"""Training runs: they learn, resume exactly, and survive kills, damage and full disks."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest
from numpy.typing import NDArray

from locations import TWO_LEVELS
from nasfpn_runtime.batches.loader import TrainLoader
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.errors import CheckpointError, DataError, DivergedError, RecipeError
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.scoring.evaluate import score_checkpoint
from nasfpn_runtime.training.run import TrainingRun
from nasfpn_runtime.training.runlog import PROGRESS, RunOptions
from nasfpn_runtime.training.train import train
from runs import LIMIT, SMALL, metrics, train_command, wait_until
from search_space import load_genome
from tools.cli import main

pytestmark = pytest.mark.slow
QUIET = RunOptions(progress=False)
GENOME = load_genome(TWO_LEVELS)
TINY = [
    *SMALL,
    "training.batch=2",
    "training.epochs=5",
    "training.evaluate_every=2",
    "training.save_every=1",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    write_shapes(folder, train=8, val=2, test=2)
    return folder


def command(data: Path, out: Path, *settings: str) -> list[str]:
    return train_command(data, out, [*TINY, *settings], arch=TWO_LEVELS)


def run(data: Path, out: Path, *settings: str) -> int:
    """Run the training command in this process; return its exit code."""
    _, _, _, *arguments = command(data, out, *settings)
    return main(arguments)


@pytest.fixture(scope="module")
def shown_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder of a run that was not interrupted, and its messages."""
    out, shown = tmp_path_factory.mktemp("whole"), io.StringIO()
    with redirect_stderr(shown):
        assert run(data, out) == 0
    return out, shown.getvalue()


@pytest.fixture(scope="module")
def whole(shown_run: tuple[Path, str]) -> Path:
    """Return the folder of a run that was not interrupted."""
    return shown_run[0]


def weights(out: Path) -> dict[str, NDArray[Any]]:
    return checkpoint.load(out / "checkpoints" / "last.ckpt")[0]


def assert_same_weights(out: Path, expected: Path) -> None:
    actual, wanted = weights(out), weights(expected)
    assert actual.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in metrics(out)]


def run_with_patch(patch: str, data: Path, out: Path, *arguments: str) -> int:
    """Run the training command in another process after some code; return its exit code."""
    _, _, _, *options = command(data, out)
    code = f"{patch}\nfrom tools.cli import main\nmain(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments, *options], capture_output=True, timeout=LIMIT
    ).returncode


def test_the_loss_falls_and_every_epoch_is_logged(whole: Path) -> None:
    log = metrics(whole)
    assert [line["epoch"] for line in log] == [1, 2, 3, 4, 5]
    assert [line["step"] for line in log] == [4, 8, 12, 16, 20]
    assert log[-1]["loss"] < log[0]["loss"]
    assert ["AP" in line for line in log] == [False, True, False, True, True]


def test_faults_of_the_data_are_reported_and_listed(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "faulty"
    shutil.copytree(data, folder)
    file = folder / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"][1]["bbox"][2] = 0
    file.write_text(json.dumps(content))
    monkeypatch.setattr(TrainingRun, "train_epoch", stop)  # faults are reported before
    assert run(folder, tmp_path / "out") == 130
    assert "annotations[1]" in capsys.readouterr().err
    listed = (tmp_path / "out" / "faults.txt").read_text().splitlines()
    assert len(listed) == 1
    assert "annotations[1]" in listed[0]
    assert listed[0].endswith("dropped")


def test_ctrl_c_names_the_command_that_resumes_and_leaves_a_checkpoint(
    data: Path, tmp_path: Path
) -> None:
    endless = command(data, tmp_path, "training.epochs=500")
    with subprocess.Popen(endless, stderr=subprocess.PIPE, text=True) as process:
        # A line of metrics.jsonl is written before its checkpoint: wait for the next one.
        wait_until(lambda: len(metrics(tmp_path)) >= 2 or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "nasfpn train" in error
    assert "Traceback" not in error
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


# Kills the run instead of taking the step after the given number of steps.
KILL_AT_STEP = """
import os, signal, sys
from nasfpn_runtime.training.step import TrainStep
left, step = int(sys.argv.pop(1)), TrainStep.__call__
def step_or_kill(self, *args, **options):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return step(self, *args, **options)
TrainStep.__call__ = step_or_kill
"""


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    # Two epochs of four steps, and half an epoch that is lost. test_killed.py kills again.
    assert run_with_patch(KILL_AT_STEP, data, tmp_path, "10") == -signal.SIGKILL
    assert len(metrics(tmp_path)) == 2
    assert run(data, tmp_path) == 0
    assert any(name.startswith("moments.") for name in weights(tmp_path))
    assert_same_weights(tmp_path, whole)
    assert losses(tmp_path) == losses(whole)


def test_a_finished_run_is_not_trained_again(whole: Path, data: Path) -> None:
    before = (whole / "checkpoints" / "last.ckpt").read_bytes()
    result = train(load_recipe("shapes", TINY), GENOME, data, whole, options=QUIET)
    assert (whole / "checkpoints" / "last.ckpt").read_bytes() == before
    assert result.metrics == {k: v for k, v in metrics(whole)[-1].items() if k not in PROGRESS}
    assert "AP" in result.metrics


# Exits instead of saving the last epoch, whose line in metrics.jsonl is already written.
EXIT_AT_SAVE = """
import os, sys
from nasfpn_runtime.network import checkpoint
save = checkpoint.save
def save_or_exit(path, net, origin, **options):
    if path.stem == "last" and origin.epoch == 5:
        os._exit(9)
    save(path, net, origin, **options)
checkpoint.save = save_or_exit
"""


def test_a_run_killed_between_a_line_and_its_checkpoint_writes_the_line_once(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    assert run_with_patch(EXIT_AT_SAVE, data, tmp_path) == 9
    assert [line["epoch"] for line in metrics(tmp_path)] == [1, 2, 3, 4, 5]
    assert run(data, tmp_path) == 0
    assert [line["epoch"] for line in metrics(tmp_path)] == [1, 2, 3, 4, 5]
    assert metrics(tmp_path)[-1]["AP"] == metrics(whole)[-1]["AP"]


def test_a_run_resumes_from_the_previous_checkpoint_if_the_last_is_broken(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "broken"
    shutil.copytree(whole, out)
    last = out / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1  # one bit of a weight: only the checksum detects it
    last.write_bytes(content)
    with pytest.warns(RuntimeWarning, match=f"{last}.*previous checkpoint"):
        assert run(data, out) == 0
    assert_same_weights(out, whole)
    assert losses(out) == losses(whole)


def test_a_full_disk_stops_the_run_and_keeps_the_last_checkpoint(
    whole: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "full"
    shutil.copytree(whole, out)
    last = out / "checkpoints" / "last.ckpt"
    os.replace(checkpoint.previous(last), last)  # four of five epochs
    before = last.read_bytes()
    size = len(before) // 2
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        assert run(data, out) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"cannot write {last.parent}" in capsys.readouterr().err
    assert last.read_bytes() == before
    assert not list(last.parent.glob(".*"))
    assert run(data, out) == 0
    assert_same_weights(out, whole)


def test_eval_gives_the_metrics_of_the_training(whole: Path, data: Path) -> None:
    scored = score_checkpoint(whole / "checkpoints" / "last.ckpt", data, "val", progress=False)
    logged = metrics(whole)[-1]
    for name in ("AP", "AP50", "AR100", "AP/circle"):
        assert scored[name] == pytest.approx(logged[name], abs=1e-9)


def test_a_truncated_or_foreign_checkpoint_is_refused(whole: Path, tmp_path: Path) -> None:
    content = (whole / "checkpoints" / "last.ckpt").read_bytes()
    for fraction in (0.0, 0.3, 0.999):
        broken = tmp_path / f"broken{fraction}.ckpt"
        broken.write_bytes(content[: int(len(content) * fraction)])
        with pytest.raises(CheckpointError, match=f"broken{fraction}"):
            checkpoint.load(broken)
    foreign = tmp_path / "foreign.ckpt"
    mindspore.save_checkpoint([{"name": "a", "data": mindspore.Tensor([1.0])}], str(foreign))
    with pytest.raises(CheckpointError, match=r"foreign\.ckpt"):
        checkpoint.load(foreign)


def test_a_checkpoint_is_not_scored_on_other_categories(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    write_shapes(other, train=2, val=2, test=2, size=64)
    file = other / "annotations" / "instances_val2017.json"
    file.write_text(file.read_text().replace('"circle"', '"disc"'))
    with pytest.raises(CheckpointError, match="disc"):
        score_checkpoint(whole / "checkpoints" / "last.ckpt", other, "val", progress=False)


def test_diverging_training_is_reported_and_its_batch_kept(data: Path, tmp_path: Path) -> None:
    # Neither a save nor an evaluation, which refuse weights that are not finite, comes before the
    # next step with such weights.
    never = ["training.evaluate_every=0", "training.save_every=0"]
    recipe = load_recipe("shapes", [*TINY, *never, "training.lr=1e12", "training.clip=null"])
    with pytest.raises(DivergedError, match=r"batch-\d+-rank0\.npz") as raised:
        train(recipe, GENOME, data, tmp_path, options=QUIET)
    step = int(re.search(r"in step (\d+)", str(raised.value))[1])  # type: ignore[index]
    kept = np.load(tmp_path / "diverged" / f"batch-{step}-rank0.npz")
    loader = TrainLoader(load_split(data, "train"), recipe, GENOME.levels, 0)
    epoch, index = divmod(step - 1, len(loader))
    batch = list(loader.epoch(epoch))[index]
    for name, value in asdict(batch).items():
        np.testing.assert_array_equal(kept[name], value, err_msg=name)


def test_earlier_checkpoints_are_kept_by_name_up_to_a_number(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    others = ["best.ckpt", "last.previous.ckpt", "mine-too.ckpt"]
    for name in others:
        (tmp_path / name).write_text(name)
    for epoch in range(1, 13):  # ordered by number, not by name: 10 comes after 9
        last.unlink(missing_ok=True)
        last.write_text(str(epoch))
        checkpoint.keep_copy(last, f"shapes-{epoch}_{epoch * 4}.ckpt", 3)
    kept = {path.name: path.read_text() for path in tmp_path.glob("shapes-*")}
    assert kept == {f"shapes-{n}_{n * 4}.ckpt": str(n) for n in (10, 11, 12)}
    assert all((tmp_path / name).exists() for name in others)


def test_a_network_trained_at_every_stack_is_scored_at_each(data: Path, tmp_path: Path) -> None:
    settings = ["training.deep_supervision=true", "training.ema=0.5", "model.stacks=2"]
    recipe = load_recipe("shapes", [*TINY, *settings, "training.epochs=2"])
    result = train(recipe, GENOME, data, tmp_path, options=QUIET)
    complete = score_checkpoint(result.last, data, "val", stacks=2, progress=False)
    # Training scores the averaged weights, and so does score_checkpoint.
    assert complete == {name: pytest.approx(value) for name, value in result.metrics.items()}
    cut = score_checkpoint(result.last, data, "val", stacks=1, progress=False)
    assert cut.keys() == complete.keys()  # test_anytime.py tests its outputs
    with pytest.raises(RecipeError, match=r"1 to 2.*got 3"):
        score_checkpoint(result.last, data, "val", stacks=3, progress=False)


def test_a_data_set_without_validation_is_refused_before_training(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_shapes(folder, train=2, val=1, test=1, size=64)
    (folder / "annotations" / "instances_val2017.json").unlink()
    with pytest.raises(DataError, match="val"):
        train(load_recipe("shapes", TINY), GENOME, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_each_epoch_is_passed_to_the_caller_and_nothing_is_printed(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    records: list[Mapping[str, Any]] = []
    recipe = load_recipe("shapes", [*TINY, "training.epochs=2"])
    options = RunOptions(progress=False, on_epoch=records.append)
    train(recipe, GENOME, data, tmp_path, options=options)
    assert records == metrics(tmp_path)
    assert ["AP" in record for record in records] == [False, True]
    assert capfd.readouterr() == ("", "")


def test_progress_names_each_stage_before_it_starts(
    shown_run: tuple[Path, str], data: Path
) -> None:
    _, shown = shown_run
    stages = [
        f"reading {data}\n",
        f"{data}: 8 images to train on, 2 to score, 3 categories\n",
        "building the network\n",
        "compiling the network, about",
        "compiling the network, about",
        "epoch 5/5: loss",
        "train: 20/20 steps",
    ]
    position = 0
    for stage in stages:
        position = shown.index(stage, position) + 1
    assert "\r" not in shown  # standard error is not a terminal here
