"""Runs of the ``nasfpn`` command in processes of their own, and what they leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

LIMIT = 300.0  # seconds: far more than any of these needs on a busy machine
SMALL = ["model.width=4", "model.channels=8", "model.stacks=1"]


def train_command(
    data: Path, out: Path, settings: Sequence[str], *options: str, arch: str | Path = "nasfpn"
) -> list[str]:
    """Return the command line of ``nasfpn train`` by the recipe ``shapes`` with some settings."""
    overrides = [part for setting in settings for part in ("--set", setting)]
    arguments = ["train", "--arch", str(arch), "--recipe", "shapes"]
    arguments += ["--data", str(data), "--out", str(out), *options, *overrides]
    return [sys.executable, "-m", "tools", *arguments]


def succeed(command: Sequence[str]) -> str:
    """Run a command that must end well; return what it printed, fail with it otherwise."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def metrics(out: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's ``metrics.jsonl``, none where there is no such file yet."""
    file = out / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_until(reached: Callable[[], bool], limit: float = LIMIT) -> None:
    """Return as soon as a condition holds; fail if it does not within ``limit`` seconds."""
    end = time.monotonic() + limit
    while not reached():
        assert time.monotonic() < end, f"not reached within {limit:g} s"
        time.sleep(0.02)
