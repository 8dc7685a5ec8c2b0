"""SIGKILL at random moments of a run: in a step, in the write of a checkpoint, in scoring."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locations import TWO_LEVELS
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.network import checkpoint

KILLS, CHAINS = 20, 2
PHASES = ("step", "save", "score")
SETTINGS = ["model.width=4", "model.channels=8", "model.stacks=1"]
SETTINGS += ["training.batch=2", "training.epochs=6", "training.evaluate_every=2"]
SETTINGS += ["training.save_every=1", "training.keep=2"]
SETTINGS += ["training.ema=0.9", "training.dropblock={keep: 0.8}"]

# Trains until a process beside it kills it, a part of the way into the n-th of a phase.
DYING = """
import os, signal, struct, sys, time
phase, count, share = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
read, write = os.pipe()
run = os.getpid()
if os.fork() == 0:
    os.close(write)
    told = os.read(read, 8)
    if told:
        time.sleep(struct.unpack("d", told)[0])
        if os.getppid() == run:  # and has not come to its end, and another adopted this
            os.kill(run, signal.SIGKILL)
    os._exit(0)

from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.training import train
from nasfpn_runtime.training.step import TrainStep

seen, longest = 0, 0.02
def deadly(function):
    def call(*args, **options):
        global seen, longest
        seen += 1
        if seen == count:
            os.write(write, struct.pack("d", share * longest))
        started = time.monotonic()
        result = function(*args, **options)
        longest = max(longest, time.monotonic() - started) if seen > 1 else longest
        return result
    return call

where, name = {
    "step": (TrainStep, "__call__"), "save": (checkpoint, "save"), "score": (train, "score")
}[phase]
setattr(where, name, deadly(getattr(where, name)))
from tools.cli import main
sys.exit(main(sys.argv[4:]))
"""


def arguments(data: Path, out: Path) -> list[str]:
    overrides = [part for setting in SETTINGS for part in ("--set", setting)]
    names = [
        "--arch",
        str(TWO_LEVELS),
        "--recipe",
        "shapes",
        "--data",
        str(data),
        "--out",
        str(out),
    ]
    return ["train", *names, "--log-every", "1", *overrides]


def run(data: Path, out: Path) -> None:
    command = [sys.executable, "-m", "tools", *arguments(data, out)]
    subprocess.run(command, check=True, capture_output=True)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    write_shapes(folder, train=4, val=2, test=1, size=64)
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    run(data, out)
    return out


def kill_again_and_again(data: Path, folder: Path, rng: np.random.Generator) -> list[Path]:
    """Kill runs as often as is due, each where the last one died; return the ended ones."""
    ended, kills, story = [folder / "0"], 0, []
    while kills < KILLS // CHAINS:
        moment = [str(rng.choice(PHASES)), str(rng.integers(1, 4)), str(rng.random())]
        command = [sys.executable, "-c", DYING, *moment, *arguments(data, ended[-1])]
        done = subprocess.run(command, capture_output=True, text=True)
        story.append((moment, done.returncode))
        assert done.returncode in (0, -signal.SIGKILL), (story, done.stderr)
        if done.returncode:
            kills += 1
        else:  # it came to its end before
            ended.append(folder / str(len(ended)))
    run(data, ended[-1])
    return ended


def test_runs_killed_at_twenty_moments_end_as_the_one_that_was_not(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    seeds = np.random.SeedSequence()
    with ThreadPoolExecutor(CHAINS) as pool:
        folders = pool.map(
            lambda pair: kill_again_and_again(data, tmp_path / pair[0], pair[1]),
            [(str(i), np.random.default_rng(seed)) for i, seed in enumerate(seeds.spawn(CHAINS))],
        )
        ended = [out for chain in folders for out in chain]
    expected = checkpoint.load(whole / "checkpoints" / "last.ckpt")[0]
    kept = sorted(p.name for p in (whole / "checkpoints").glob("*.ckpt"))
    named = ["shapes-5_10.ckpt", "shapes-6_12.ckpt"]
    assert kept == ["best.ckpt", "last.ckpt", "last.previous.ckpt", *named]
    assert any(name.startswith("ema.") for name in expected)
    for out in ended:
        found = checkpoint.load(out / "checkpoints" / "last.ckpt")[0]
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=f"{name}, {seeds}")
        assert lines(out) == lines(whole), seeds
        assert {p.name for p in (out / "checkpoints").glob("*.ckpt")} >= set(kept)
