"""Training on two cards: the sums are those of one, and a crash loses nothing."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from locations import HELPERS, TWO_LEVELS
from nasfpn_runtime.cluster.cards import Cards
from nasfpn_runtime.cluster.launch import ClusterJob, launch_command
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.errors import CheckpointError, DeviceError
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.scoring.evaluate import score_checkpoint
from nasfpn_runtime.training.runfolder import alone_in
from nasfpn_runtime.training.train import train
from runs import LIMIT, SMALL, metrics, succeed, train_command, wait_until
from search_space import load_genome
from tools.cli import main

pytestmark = pytest.mark.slow
SCRIPT = HELPERS / "few_steps.py"
EPOCHS = 8
SETTINGS = [*SMALL, "training.batch=4", f"training.epochs={EPOCHS}"]
SETTINGS += ["training.evaluate_every=4", "training.save_every=1"]
SETTINGS += ["detection.score=0"]  # an AP above 0 after eight epochs

# By default MindSpore tries to connect every 3 to 5 s.
HASTE = {"MS_RETRY_INTERVAL_LOWER": "1", "MS_RETRY_INTERVAL_UPPER": "1"}


@pytest.fixture(scope="module", autouse=True)
def _hasty() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in HASTE.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    write_shapes(folder, train=8, val=3, test=1)
    return folder


def few_steps(data: Path, results: Path, *, cards: int, parts: int) -> list[dict[str, Any]]:
    """Train a few steps and return what each card saved."""
    arguments = [str(SCRIPT), str(data), str(results), str(parts)]
    if cards == 1:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", arguments)
            runpy.run_path(arguments[0], run_name="__main__")
    else:
        command, environment = launch_command(arguments, ClusterJob(devices=cards), results.parent)
        subprocess.run(command, env=environment, check=True, timeout=LIMIT, capture_output=True)
    return [dict(np.load(f"{results}-{rank}.npz")) for rank in range(cards)]


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[Any]]:
    return few_steps(data, tmp_path_factory.mktemp("alone") / "a", cards=1, parts=1)[0]


@pytest.mark.parametrize(("cards", "parts"), [(2, 1), (1, 4), (2, 2)])
def test_shares_of_a_batch_add_up_to_the_batch(
    alone: dict[str, NDArray[Any]], data: Path, tmp_path: Path, cards: int, parts: int
) -> None:
    ranks = few_steps(data, tmp_path / "r", cards=cards, parts=parts)
    # The shares of a batch are contiguous and in order of rank: disjoint, and all of it.
    shares = np.concatenate([rank["pictures"] for rank in ranks], axis=1)
    np.testing.assert_array_equal(shares, alone["pictures"])
    for rank in ranks:
        np.testing.assert_allclose(rank["losses"], alone["losses"], rtol=1e-5)
        for name, expected in alone.items():
            if "/" in name:  # weights after the first and the last update
                error = np.abs(rank[name] - expected).max()
                # Rounding errors grow. Gradients of wrong weight show in the second loss: by 2e-3.
                limit = 1e-5 if name.startswith("0/") else 1e-4
                assert error <= limit * max(1.0, np.abs(expected).max()), name


def command(data: Path, out: Path, devices: int = 2) -> list[str]:
    return train_command(data, out, SETTINGS, "--devices", str(devices), arch=TWO_LEVELS)


def processes(out: Path) -> dict[int, bytes]:
    """Return the processes of the run in ``out`` by id, with their arguments and environments."""
    result = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            arguments = (entry / "cmdline").read_bytes()
            if str(out).encode() in arguments:
                result[int(entry.name)] = arguments + (entry / "environ").read_bytes()
    return result


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run folder of a job that was not interrupted."""
    out = tmp_path_factory.mktemp("job") / "uninterrupted"
    succeed(command(data, out))
    return out


# Parts of the arguments and the environment that tell a process of a job.
KINDS = {
    "card": (b"\0MS_ROLE=MS_WORKER\0", b"\0RANK_ID=1\0"),
    "msrun": (b"run_module('nasfpn_runtime.cluster.msrun'",),
}


def stop(
    arguments: list[str],
    out: Path,
    kind: str,
    how: signal.Signals,
    code: int,
    message: str,
    *,
    epochs: int,
) -> None:
    """Send a signal to a process of a job after some epochs; check how the job ends.

    Args:
        kind: the process: a card, msrun, or the launcher that the user started.
        code: exit code that the job must have.
        message: part of what it must print.
        epochs: number of epochs that are logged when the signal is sent; some more may be. A job
            that is resumed must have logged fewer when it starts.
    """
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        before = metrics(out)
        wait_until(lambda: metrics(out) != before or process.poll() is not None)
        target = process.pid
        if kind != "launcher":
            target = next(
                number
                for number, text in processes(out).items()
                if all(part in text for part in KINDS[kind])
            )
        wait_until(lambda: len(metrics(out)) >= epochs or process.poll() is not None)
        os.kill(target, how)
        _, error = process.communicate(timeout=LIMIT)
    assert process.returncode == code
    assert message in error
    assert "Traceback" not in error
    wait_until(lambda: not processes(out))
    assert len(metrics(out)) < EPOCHS
    assert (out / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [("card", "a worker process ended with code -9"), ("msrun", "a worker process ended")],
)
def test_a_process_that_dies_stops_the_job(
    data: Path, tmp_path: Path, kind: str, message: str
) -> None:
    """What it leaves is that of a launcher that is killed, which the next test resumes."""
    out = tmp_path / "stopped"
    stop(command(data, out), out, kind, signal.SIGKILL, 2, message, epochs=2)


def test_a_job_that_was_stopped_and_resumed_ends_as_an_uninterrupted_one(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "interrupted"
    last = out / "checkpoints" / "last.ckpt"
    arguments = [*command(data, out), "--set", "training.save_every=3"]
    stop(arguments, out, "launcher", signal.SIGKILL, -signal.SIGKILL, "", epochs=4)
    assert checkpoint.load(last)[1].epoch in (3, 6)
    stop(arguments, out, "launcher", signal.SIGINT, 130, "run the same command", epochs=4)
    assert checkpoint.load(last)[1].epoch == len(metrics(out))  # saved, whatever the recipe says
    shown = succeed(arguments)
    assert f"curves      {out / 'figures' / 'curves.svg'}\n" in shown  # the last line
    ends = [
        checkpoint.load(folder / "checkpoints" / "last.ckpt")[0] for folder in (uninterrupted, out)
    ]
    for name, expected in ends[0].items():
        np.testing.assert_array_equal(ends[1][name], expected, err_msg=name)
    assert metrics(out) == metrics(uninterrupted)


def test_an_interrupt_while_processes_are_started_leaves_none(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(command(data, out), stderr=subprocess.PIPE, text=True) as process:
        log = out / "logs" / "node0" / "scheduler.log"
        wait_until(lambda: log.exists() or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "Traceback" not in error
    wait_until(lambda: not processes(out))


def test_one_card_resumes_a_run_of_two_and_scores_the_same(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    assert (uninterrupted / "logs" / "node0" / "worker_1.log").exists()
    fewer = tmp_path / "fewer"
    shutil.copytree(uninterrupted, fewer)
    last = fewer / "checkpoints" / "last.ckpt"
    os.replace(checkpoint.previous(last), last)
    _, _, _, *arguments = command(data, fewer, devices=1)
    assert main(arguments) == 0
    assert [line["epoch"] for line in metrics(fewer)] == list(range(1, EPOCHS + 1))
    assert metrics(fewer)[:-1] == metrics(uninterrupted)[:-1]
    # One card scores the final weights as the two did together.
    alone = score_checkpoint(
        uninterrupted / "checkpoints" / "last.ckpt", data, "val", progress=False
    )
    together = {name: value for name, value in metrics(uninterrupted)[-1].items() if name in alone}
    assert together == pytest.approx(alone, abs=1e-9)


def test_a_second_job_in_a_run_folder_is_refused(data: Path, tmp_path: Path) -> None:
    with alone_in(tmp_path):
        refused = subprocess.run(
            command(data, tmp_path), capture_output=True, text=True, timeout=LIMIT
        )
    assert refused.returncode == 2
    assert f"cannot train in {tmp_path}: another process" in refused.stderr
    assert not (tmp_path / "logs").exists()


class Servers(Cards):
    """Two cards. The other one has another run folder, with a run of four epochs."""

    def gather(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([rows, np.array([[4, 0]], np.float32)])


def test_cards_that_would_resume_from_different_epochs_are_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasfpn_runtime.training.train.join", Servers)
    with pytest.raises(CheckpointError, match="got epochs 0, 4"):
        train(load_recipe("shapes", SETTINGS), load_genome(TWO_LEVELS), data, tmp_path)


def test_an_error_of_the_cards_is_reported_once(data: Path, tmp_path: Path) -> None:
    failed = subprocess.run(
        command(data / "missing", tmp_path / "out"), capture_output=True, text=True, timeout=LIMIT
    )
    assert failed.returncode == 2
    assert "missing" in failed.stderr
    assert failed.stderr.count("nasfpn: error") == 1
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("setting", "values"),
    [("training.batch=3", "3 for 2 times 1"), ("training.accumulate=4", "4 for 2 times 4")],
)
def test_a_batch_that_cannot_be_divided_evenly_is_refused(
    data: Path, tmp_path: Path, setting: str, values: str
) -> None:
    refused = subprocess.run(
        [*command(data, tmp_path / "out"), "--set", setting], capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert re.search(f"training.batch.*got {values}", refused.stderr)
    assert not (tmp_path / "out" / "logs").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": 0}, "--devices.* got 0"),
        ({"nnodes": 2, "node_rank": 2, "master": "a"}, "--node-rank.* got 2"),
        ({"nnodes": 2, "node_rank": -1, "master": "a"}, "--node-rank.* got -1"),
        ({"nnodes": 2}, "--nnodes 2 .*--master"),
        ({"nnodes": 2, "master": "a:b"}, "--master.* got a:b"),
        ({"nnodes": 2, "master": ":80"}, "--master.* got :80"),
        ({"devices": 2, "rank_table": Path("missing.json")}, "--rank-table.* missing"),
    ],
)
def test_an_impossible_job_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        ClusterJob(**settings)


def test_servers_connect_at_the_master() -> None:
    job = ClusterJob(devices=8, nnodes=2, node_rank=1, master="10.0.0.1:9000")
    arguments, _ = launch_command(["-m", "tools"], job, Path("logs"))
    expected = {"worker_num": 16, "local_worker_num": 8, "node_rank": 1, "master_port": 9000}
    expected |= {"master_addr": "10.0.0.1"}
    assert {f"--{name}={value}" for name, value in expected.items()} <= set(arguments)
