"""Training runs: they learn, resume exactly, and refuse what is not theirs."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import searched_archs
from nasfpn_runtime.batches.loader import TrainLoader
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.errors import CheckpointError, DataError, DivergedError, RecipeError
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.scoring.evaluate import score_checkpoint
from nasfpn_runtime.training.runfolder import alone_in
from nasfpn_runtime.training.runlog import PROGRESS, RunOptions
from nasfpn_runtime.training.train import train

QUIET = RunOptions(progress=False)
TINY = [
    "model.width=4",
    "model.channels=8",
    "model.stacks=1",
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


def command(data: Path, out: Path) -> list[str]:
    overrides = [part for setting in TINY for part in ("--set", setting)]
    code = "import sys; from tools.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["train", "--arch", "nasfpn", "--recipe", "shapes"]
    arguments += ["--data", str(data), "--out", str(out), *overrides]
    return [sys.executable, "-c", code, *arguments]


def lines(out: Path) -> list[dict[str, Any]]:
    file = out / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    subprocess.run(command(data, out), check=True, capture_output=True)
    return out


def wait_for_epochs(process: subprocess.Popen[Any], out: Path, count: int) -> None:
    limit = time.monotonic() + 300
    while len(lines(out)) < count:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.02)


def weights(out: Path) -> dict[str, NDArray[Any]]:
    return checkpoint.load(out / "checkpoints" / "last.ckpt")[0]


def test_the_loss_falls_and_every_epoch_is_logged(whole: Path) -> None:
    log = lines(whole)
    assert [line["epoch"] for line in log] == [1, 2, 3, 4, 5]
    assert [line["step"] for line in log] == [4, 8, 12, 16, 20]
    assert log[-1]["loss"] < log[0]["loss"]
    assert ["AP" in line for line in log] == [False, True, False, True, True]


def test_faults_of_the_data_are_told_and_listed(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "faulty"
    shutil.copytree(data, folder)
    file = folder / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"][1]["bbox"][2] = 0
    file.write_text(json.dumps(content))
    arguments = [*command(folder, tmp_path / "out"), "--set", "training.epochs=1"]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    assert "annotations[1]" in done.stderr
    listed = (tmp_path / "out" / "faults.txt").read_text().splitlines()
    assert len(listed) == 1
    assert "annotations[1]" in listed[0]
    assert listed[0].endswith("dropped")


def test_ctrl_c_says_how_to_go_on_and_leaves_a_run_that_does(data: Path, tmp_path: Path) -> None:
    endless = [*command(data, tmp_path), "--set", "training.epochs=500"]
    with subprocess.Popen(endless, stderr=subprocess.PIPE, text=True) as process:
        wait_for_epochs(process, tmp_path, 2)  # a line is written before its checkpoint
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "goes on from here: nasfpn train" in error
    assert "Traceback" not in error
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


# A run that is killed when it is to take a step after so many.
KILLED = """
import os, signal, sys
from nasfpn_runtime.training.step import TrainStep
left, step = int(sys.argv.pop(1)), TrainStep.__call__
def deadly(self, *args, **options):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return step(self, *args, **options)
TrainStep.__call__ = deadly
from tools.cli import main
main(sys.argv[1:])
"""


def test_a_killed_run_ends_with_the_weights_of_the_uninterrupted_one(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    python, flag, _, *arguments = command(data, tmp_path)
    for epochs in (2, 4):  # a run that goes on goes on again
        # Two epochs of four steps, and a half of one that is lost.
        killed = [python, flag, KILLED, "10", *arguments]
        assert subprocess.run(killed, capture_output=True).returncode == -signal.SIGKILL
        assert len(lines(tmp_path)) == epochs
    subprocess.run(command(data, tmp_path), check=True, capture_output=True)
    expected, found = weights(whole), weights(tmp_path)
    assert set(found) == set(expected)
    assert any(name.startswith("moments.") for name in found)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert [line["loss"] for line in lines(tmp_path)] == [line["loss"] for line in lines(whole)]


def test_a_finished_run_is_not_trained_again(whole: Path, data: Path) -> None:
    before = (whole / "checkpoints" / "last.ckpt").read_bytes()
    result = train(
        load_recipe("shapes", TINY), searched_archs.load("nasfpn"), data, whole, options=QUIET
    )
    assert (whole / "checkpoints" / "last.ckpt").read_bytes() == before
    assert result.metrics == {k: v for k, v in lines(whole)[-1].items() if k not in PROGRESS}
    assert "AP" in result.metrics


# A run that dies when it is to save the last epoch, whose line it has written.
DYING = """
import os, sys
from nasfpn_runtime.network import checkpoint
save = checkpoint.save
def dying(path, net, origin, **options):
    if path.stem == "last" and origin.epoch == 5:
        os._exit(9)
    save(path, net, origin, **options)
checkpoint.save = dying
from tools.cli import main
main(sys.argv[1:])
"""


def test_a_run_killed_between_a_line_and_its_checkpoint_writes_the_line_once(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    python, flag, _, *arguments = command(data, tmp_path)
    died = subprocess.run([python, flag, DYING, *arguments], capture_output=True)
    assert died.returncode == 9
    assert [line["epoch"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]
    subprocess.run(command(data, tmp_path), check=True, capture_output=True)
    assert [line["epoch"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]
    assert lines(tmp_path)[-1]["AP"] == lines(whole)[-1]["AP"]


def test_a_broken_checkpoint_gives_way_to_the_one_before(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "broken"
    shutil.copytree(whole, out)
    last = out / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1  # one bit of a weight: only the checksum tells
    last.write_bytes(content)
    done = subprocess.run(command(data, out), check=True, capture_output=True, text=True)
    assert "going on from the one before" in done.stderr
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(out)[name], value, err_msg=name)
    assert [line["loss"] for line in lines(out)] == [line["loss"] for line in lines(whole)]


def test_a_disk_that_takes_no_more_stops_the_run_and_costs_nothing(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "full"
    shutil.copytree(whole, out)
    last = out / "checkpoints" / "last.ckpt"
    os.replace(checkpoint.previous(last), last)  # four of five epochs
    before = last.read_bytes()
    size = len(before) // 2
    stopped = subprocess.run(
        command(data, out),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    assert stopped.returncode == 2
    assert "cannot write" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert last.read_bytes() == before
    assert not list(last.parent.glob(".*"))
    subprocess.run(command(data, out), check=True, capture_output=True)
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(out)[name], value, err_msg=name)


def test_eval_gives_the_figures_of_the_training(whole: Path, data: Path) -> None:
    metrics = score_checkpoint(whole / "checkpoints" / "last.ckpt", data, "val", progress=False)
    logged = lines(whole)[-1]
    for name in ("AP", "AP50", "AR100", "AP/circle"):
        assert metrics[name] == pytest.approx(logged[name], abs=1e-9)


@pytest.mark.parametrize(
    ("what", "arch", "seed", "override"),
    [
        (r"recipe \(training.lr is \S+ there, 0.01 here\)", "nasfpn", 0, "training.lr=0.01"),
        ("genome", "panet", 0, "training.batch=2"),
        ("seed", "nasfpn", 1, "training.batch=2"),
    ],
)
def test_a_folder_of_another_run_is_refused(
    whole: Path, data: Path, what: str, arch: str, seed: int, override: str
) -> None:
    with pytest.raises(CheckpointError, match=f"another {what}"):
        train(
            load_recipe("shapes", [*TINY, override]),
            searched_archs.load(arch),
            data,
            whole,
            seed=seed,
            options=QUIET,
        )


@pytest.mark.parametrize("name", ["faults.txt", "config.yaml", "genome.json", "train.log"])
def test_files_of_something_else_are_not_overwritten(data: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(CheckpointError, match=f"with {name} of something else"):
        train(
            load_recipe("shapes", TINY), searched_archs.load("fpn"), data, tmp_path, options=QUIET
        )
    assert (tmp_path / name).read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} <= {name, ".lock"}


def test_a_run_without_its_checkpoints_is_begun_anew_by_its_own_settings_only(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    for checkpoint_file in (out / "checkpoints").glob("last*.ckpt"):
        checkpoint_file.unlink()
    before = (out / "metrics.jsonl").read_bytes()
    other = [*command(data, out), "--set", "training.lr=0.01"]
    refused = subprocess.run(other, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "config.yaml of something else" in refused.stderr
    assert (out / "metrics.jsonl").read_bytes() == before
    subprocess.run(command(data, out), check=True, capture_output=True)
    assert (out / "metrics.jsonl").read_bytes() == before


def test_two_runs_in_one_folder_are_refused(data: Path, tmp_path: Path) -> None:
    with alone_in(tmp_path):
        refused = subprocess.run(command(data, tmp_path), capture_output=True, text=True)
    assert refused.returncode == 2
    assert f"got {tmp_path}, in which another one does" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_truncated_or_foreign_checkpoint_is_refused(whole: Path, tmp_path: Path) -> None:
    content = (whole / "checkpoints" / "last.ckpt").read_bytes()
    for share in (0.0, 0.3, 0.999):
        broken = tmp_path / f"broken{share}.ckpt"
        broken.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(CheckpointError, match=f"broken{share}"):
            checkpoint.load(broken)
    import mindspore

    foreign = tmp_path / "foreign.ckpt"
    mindspore.save_checkpoint([{"name": "a", "data": mindspore.Tensor([1.0])}], str(foreign))
    with pytest.raises(CheckpointError, match="does not say which recipe"):
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


def test_diverging_training_says_so_and_keeps_the_batch(data: Path, tmp_path: Path) -> None:
    recipe = load_recipe("shapes", [*TINY, "training.lr=1e12", "training.clip=null"])
    genome = searched_archs.load("fpn")
    with pytest.raises(DivergedError, match=r"training\.lr") as raised:
        train(recipe, genome, data, tmp_path, options=QUIET)
    step = int(re.search(r"in step (\d+)", str(raised.value))[1])  # type: ignore[index]
    kept = np.load(tmp_path / "diverged" / f"batch-{step}-rank0.npz")
    loader = TrainLoader(load_split(data, "train"), recipe, genome.levels, 0)
    epoch, place = divmod(step - 1, len(loader))
    batch = list(loader.epoch(epoch))[place]
    for name, value in asdict(batch).items():
        np.testing.assert_array_equal(kept[name], value, err_msg=name)


def test_earlier_checkpoints_are_kept_by_name_up_to_a_number(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    others = ["best.ckpt", "last.previous.ckpt", "mine-too.ckpt"]
    for name in others:
        (tmp_path / name).write_text(name)
    for epoch in range(1, 13):  # by number and not by name: 10 comes after 9
        last.unlink(missing_ok=True)
        last.write_text(str(epoch))
        checkpoint.keep_copy(last, f"shapes-{epoch}_{epoch * 4}.ckpt", 3)
    kept = {path.name: path.read_text() for path in tmp_path.glob("shapes-*")}
    assert kept == {f"shapes-{n}_{n * 4}.ckpt": str(n) for n in (10, 11, 12)}
    assert all((tmp_path / name).exists() for name in others)


def test_a_network_trained_at_every_stack_is_scored_at_each(data: Path, tmp_path: Path) -> None:
    settings = ["training.deep_supervision=true", "training.ema=0.5", "model.stacks=2"]
    recipe = load_recipe("shapes", [*TINY, *settings, "training.epochs=2"])
    result = train(recipe, searched_archs.load("fpn"), data, tmp_path, options=QUIET)
    whole = score_checkpoint(result.last, data, "val", stacks=2, progress=False)
    # The averaged weights are what training scored, and what is scored later.
    assert whole == {name: pytest.approx(value) for name, value in result.metrics.items()}
    cut = score_checkpoint(result.last, data, "val", stacks=1, progress=False)
    assert cut.keys() == whole.keys()  # its outputs: test_anytime.py
    with pytest.raises(RecipeError, match="1 to 2 stacks"):
        score_checkpoint(result.last, data, "val", stacks=3, progress=False)


def test_a_data_set_without_validation_is_refused_before_training(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_shapes(folder, train=2, val=1, test=1, size=64)
    (folder / "annotations" / "instances_val2017.json").unlink()
    with pytest.raises(DataError, match="val"):
        train(load_recipe("shapes", TINY), searched_archs.load("fpn"), folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
