"""Ctrl-C stops a command, even if Python or MindSpore drops the exception."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from nasfpn_runtime import interrupts
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.training.runlog import RunLog
from runs import SMALL, train_command
from tools.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Lost:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_lost_interrupt_ends_training_at_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shapes(tmp_path / "data", train=2, val=2, test=2, size=64)
    steps = []

    def end_step(log: RunLog, step: int, loss: float, lr: float) -> None:
        steps.append(step)
        if step == 2:
            Lost()

    monkeypatch.setattr(RunLog, "end_step", end_step)
    settings = [*SMALL, "training.epochs=4", "training.evaluate_every=0"]
    _, _, _, *arguments = train_command(tmp_path / "data", tmp_path / "out", settings, arch="fpn")
    assert main(arguments) == 130
    assert steps == [1, 2]
    assert "Stopped." in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_is_remembered_until_the_command_ends(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with interrupts.remembered():
        interrupts.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    interrupts.check()
    assert signal.getsignal(number) == before


def test_a_lost_interrupt_ends_detection_at_the_next_pictures() -> None:
    with interrupts.remembered():
        Lost()
        with pytest.raises(KeyboardInterrupt):
            Detector.find(cast("Detector", None), [])


def test_a_terminal_cannot_end_processes_that_are_started_while_it_is_held_back() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with interrupts.held_back():
        code = "import signal; print(*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert {int(signal.SIGINT), int(signal.SIGHUP)} <= set(map(int, done.stdout.split()))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
