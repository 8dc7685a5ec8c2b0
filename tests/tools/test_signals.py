"""SIGINT, SIGTERM and SIGHUP at any moment of any command: one line, 128 + number, nothing left."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from command_runs import LONG, long_run, write_inputs
from locations import ROOT
from random_signals import drafts_in, signal_at
from runs import wait_until
from search_space.files import atomic_write
from tools.cli import COMMANDS
from tools.supervisor import SIGNALS, stopped_line


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def test_every_command_has_a_run() -> None:
    assert set(LONG) == set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_ends_any_command_at_any_moment(
    command: str, inputs: Path, tmp_path: Path
) -> None:
    rng = random.Random(command)
    number = rng.choice(SIGNALS)
    for left in inputs.glob("out*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    end = signal_at(long_run(command, inputs), number, rng.uniform(0, 1.5), tmp_path)
    assert end.faults(number) + drafts_in(inputs) == [], end.errors


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.0, 0.5, 2.5, 6.0])
def test_ctrl_c_while_mindspore_is_imported_or_compiles(
    moment: float, inputs: Path, tmp_path: Path
) -> None:
    shutil.rmtree(inputs / "out", ignore_errors=True)
    end = signal_at(long_run("train", inputs), signal.SIGINT, moment, tmp_path)
    assert end.faults(signal.SIGINT) == [], end.errors
    assert end.code == 130


# Runs code as a command, with MindSpore's part played by a library that holds the interpreter.
STUCK = """
import ctypes, signal, subprocess, sys
from pathlib import Path
from search_space.files import atomic_write
from tools import archs, supervisor, __main__

def stick(args):
    child = subprocess.Popen(["sleep", "600"])
    with atomic_write(Path("result.txt")) as draft:
        draft.write_text("half")
        Path("ready").write_text(str(child.pid))
        signal.pthread_sigmask(signal.SIG_BLOCK, supervisor.SIGNALS)  # else they end the sleep
        ctypes.PyDLL(None).sleep(600)  # unlike CDLL, keeps the interpreter's lock

archs.run = stick
sys.argv = ["nasfpn", "archs"]
sys.exit(__main__.main())
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_that_cannot_react_is_killed_with_its_children_and_drafts(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: (tmp_path / "ready").exists() and (tmp_path / "ready").read_text() != "")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, "Stopped.\n")
    child = int((tmp_path / "ready").read_text())
    assert not Path(f"/proc/{child}").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]


SAVING = """
import sys, time
from nasfpn_runtime import interrupts
from tools import archs, __main__

def save(args):
    with interrupts.deferred():
        open("ready", "w").close()
        time.sleep(4)  # longer than a command may take otherwise
        open("saved", "w").close()

archs.run = save
sys.argv = ["nasfpn", "archs"]
sys.exit(__main__.main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_must_not_be_left_half_done_is_completed(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SAVING], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    wait_until((tmp_path / "ready").exists)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, "Stopped.\n")
    assert (tmp_path / "saved").exists()


NOHUP = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
from runs import wait_until
from tools import archs, __main__

def wait(args):
    Path("ready").touch()
    wait_until(Path("go").exists)
    return 0

archs.run = wait
sys.argv = ["nasfpn", "archs"]
sys.exit(__main__.main())
"""


def test_a_command_under_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", NOHUP],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests/helpers"},
        start_new_session=True,
    )
    wait_until((tmp_path / "ready").exists)
    os.killpg(process.pid, signal.SIGHUP)  # to command and supervisor, as a terminal does
    (tmp_path / "go").touch()
    assert process.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_command_that_dies_of_a_signal_is_reported_as_such(
    number: signal.Signals, tmp_path: Path
) -> None:
    code = (
        "import os, sys; from tools import archs, __main__\n"
        f"archs.run = lambda args: os.kill(os.getpid(), {int(number)})\n"
        "sys.argv = ['nasfpn', 'archs']; sys.exit(__main__.main())"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert ended.returncode == -number


def test_a_command_ends_with_the_process_that_was_started(tmp_path: Path) -> None:
    code = STUCK.replace("str(child.pid)", 'str(__import__("os").getpid())')
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    ready = tmp_path / "ready"
    wait_until(lambda: ready.exists() and ready.read_text() != "")
    command = Path("/proc", ready.read_text())
    assert command.exists()
    process.kill()
    process.wait()
    wait_until(lambda: not command.exists())


def test_the_line_has_no_password() -> None:
    line = stopped_line(["search", "--storage", "mysql://me:geheim@host/db"])
    assert "mysql://me:***@host/db" in line
    assert "geheim" not in line


def test_drafts_end_with_their_block(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt") as draft:
        draft.write_text("a")
        assert drafts_in(tmp_path) == [str(draft)]
    assert drafts_in(tmp_path) == []
