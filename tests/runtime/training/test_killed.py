"""SIGKILL at random moments of a run: in a step, while a checkpoint is written, in scoring."""

from __future__ import annotations

import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from locations import TWO_LEVELS
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.network import checkpoint
from runs import LIMIT, SMALL, metrics, succeed, train_command

pytestmark = pytest.mark.slow
KILLS, CHAINS = 20, 2
PHASES = ("step", "save", "score")
SETTINGS = [*SMALL, "training.batch=2", "training.epochs=6", "training.evaluate_every=2"]
SETTINGS += ["training.save_every=1", "training.keep=2"]
SETTINGS += ["training.ema=0.9", "training.dropblock={keep: 0.8}"]

# Trains until a child process kills it, part of the way through the n-th call of a function.
KILLED = """
import os, signal, struct, sys, time
phase, count, fraction = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
read, write = os.pipe()
run = os.getpid()
if os.fork() == 0:
    os.close(write)
    delay = os.read(read, 8)
    if delay:
        time.sleep(struct.unpack("d", delay)[0])
        if os.getppid() == run:  # else the run has ended, and its id may belong to another process
            os.kill(run, signal.SIGKILL)
    os._exit(0)

from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.training import run as training_run
from nasfpn_runtime.training.step import TrainStep

seen, longest = 0, 0.02
def announced(function):
    def call(*args, **options):
        global seen, longest
        seen += 1
        if seen == count:
            os.write(write, struct.pack("d", fraction * longest))
        started = time.monotonic()
        result = function(*args, **options)
        longest = max(longest, time.monotonic() - started) if seen > 1 else longest
        return result
    return call

owner, name = {
    "step": (TrainStep, "__call__"), "save": (checkpoint, "save"), "score": (training_run, "score")
}[phase]
setattr(owner, name, announced(getattr(owner, name)))
from tools.cli import main
sys.exit(main(sys.argv[4:]))
"""


def command(data: Path, out: Path) -> list[str]:
    return train_command(data, out, SETTINGS, "--log-every", "1", arch=TWO_LEVELS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    write_shapes(folder, train=4, val=2, test=1, size=64)
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    succeed(command(data, out))
    return out


def kill_again_and_again(data: Path, folder: Path, rng: np.random.Generator) -> list[Path]:
    """Kill runs in one folder again and again; return the folders of those that were finished.

    A run that ends before its kill is followed by a run in a new folder.
    """
    finished, kills, history = [folder / "0"], 0, []
    while kills < KILLS // CHAINS:
        moment = [str(rng.choice(PHASES)), str(rng.integers(1, 4)), str(rng.random())]
        python, _, _, *options = command(data, finished[-1])
        killed = [python, "-c", KILLED, *moment, *options]
        done = subprocess.run(killed, capture_output=True, text=True, timeout=LIMIT)
        history.append((moment, done.returncode))
        assert done.returncode in (0, -signal.SIGKILL), (history, done.stderr)
        if done.returncode:
            kills += 1
        else:
            finished.append(folder / str(len(finished)))
    succeed(command(data, finished[-1]))
    return finished


def test_runs_killed_at_twenty_moments_end_as_one_never_killed(
    whole: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The killed runs load compiled networks; the one never killed has compiled its own."""
    monkeypatch.setenv("NASFPN_CACHE", str(tmp_path / "compiled"))
    seeds = np.random.SeedSequence()
    with ThreadPoolExecutor(CHAINS) as pool:
        folders = pool.map(
            lambda pair: kill_again_and_again(data, tmp_path / pair[0], pair[1]),
            [(str(i), np.random.default_rng(seed)) for i, seed in enumerate(seeds.spawn(CHAINS))],
        )
        finished = [out for chain in folders for out in chain]
    expected = checkpoint.load(whole / "checkpoints" / "last.ckpt")[0]
    kept = sorted(p.name for p in (whole / "checkpoints").glob("*.ckpt"))
    named = ["shapes-5_10.ckpt", "shapes-6_12.ckpt"]
    assert kept == ["best.ckpt", "last.ckpt", "last.previous.ckpt", *named]
    assert any(name.startswith("ema.") for name in expected)
    for out in finished:
        arrays = checkpoint.load(out / "checkpoints" / "last.ckpt")[0]
        assert arrays.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(arrays[name], value, err_msg=f"{name}, {seeds}")
        assert metrics(out) == metrics(whole), seeds
        assert {p.name for p in (out / "checkpoints").glob("*.ckpt")} >= set(kept)
