"""Send SIGINT, SIGTERM or SIGHUP to commands at random moments, and check how they end.

Run ``python tests/helpers/random_signals.py 40`` to try 40 moments over all commands.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from command_runs import long_run, write_inputs
from locations import ROOT
from tools.cli import COMMANDS
from tools.supervisor import SIGNALS

MARK = "NASFPN_TEST_MARK"  # environment variable by which the processes of a command are found
LATEST = 12.0  # seconds after the start


@dataclass(frozen=True)
class Ending:
    """How a command ended after a signal.

    Attributes:
        code: its exit code.
        seconds: time from the signal to its end.
        errors: what it printed on standard error.
        left: processes and files that it left behind.
        early: whether it had ended before the signal.
    """

    code: int
    seconds: float
    errors: str
    left: list[str]
    early: bool

    def faults(self, number: signal.Signals) -> list[str]:
        """Return what is wrong with the ending, but for the time it took."""
        if self.early or self.code == 0:  # it was done, just before or just after the signal
            return []
        faults = list(self.left)
        if self.code != 128 + number and not (self.code == 2 and "nasfpn: error" in self.errors):
            faults.append(f"exit code {self.code}")
        if self.code != 2 and self.errors.count("Stopped.") != 1:
            faults.append("not one line that it was stopped")
        if match := re.search(
            r"Traceback|\[(ERROR|WARNING|CRITICAL)\]|Exception ignored", self.errors
        ):
            faults.append(match[0])
        return faults


def signal_at(
    command: list[str], number: signal.Signals, moment: float, current: Path, limit: float = 60.0
) -> Ending:
    """Run a command, send it a signal some seconds after it can receive one, and wait for it.

    Args:
        current: an empty folder to run it in.
    """
    mark = os.urandom(8).hex()
    environment = {**os.environ, MARK: mark, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            cwd=current,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        while not _takes_signals(process.pid) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moment)
        early = process.poll() is not None
        start = time.monotonic()
        process.send_signal(number)
        code = process.wait(limit)
        seconds = time.monotonic() - start
        time.sleep(0.05)
        left = [f"process {pid} is left" for pid in _marked(mark)]
        left += [f"{path.name} is left in the current folder" for path in current.iterdir()]
        errors.seek(0)
        return Ending(code, seconds, errors.read().decode(), left, early)


def _takes_signals(process: int) -> bool:
    """Return whether the interpreter has reached this project: it blocks SIGINT first."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return True
    match = re.search(r"SigBlk:\s*([0-9a-f]+)", status)
    return bool(match and int(match[1], 16) & 1 << (signal.SIGINT - 1))


def _marked(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            pass
    return found


def drafts_in(folder: Path) -> list[str]:
    """Return the drafts that are left in a folder."""
    patterns = ("**/.*.partial*", "**/.*.tmp*", "**/.plain-*")
    return [str(path) for pattern in patterns for path in folder.glob(pattern)]


def main(moments: int, seed: int = 0) -> int:
    """Try so many moments over all commands, and print each."""
    rng = random.Random(seed)
    bad, slowest = 0, 0.0
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name, "inputs")
        inputs.mkdir()
        write_inputs(inputs)
        names = list(COMMANDS)
        for index in range(moments):
            # The first third is in the first three seconds of a training, which imports MindSpore.
            command = "train" if index % 3 == 0 else names[index * 2 // 3 % len(names)]
            number = rng.choice(SIGNALS)
            moment = rng.uniform(0, 3) if index % 3 == 0 else rng.uniform(0, LATEST)
            current = Path(name, f"current-{index}")
            current.mkdir()
            subprocess.run(["rm", "-rf", *map(str, inputs.glob("out*"))], check=True)
            end = signal_at(long_run(command, inputs), number, moment, current)
            faults = end.faults(number) + drafts_in(inputs)
            slowest = max(slowest, end.seconds)
            if end.seconds > 2 and "saved after" not in end.errors:
                faults.append("took longer than 2 s")
            bad += bool(faults)
            state = "had ended" if end.early else f"{end.seconds:.2f} s"
            print(
                f"{command:14}{number.name:8} at {moment:5.2f} s: exit code {end.code}, {state}",
                *faults,
                *(end.errors.splitlines()[-12:] if faults else ()),
                sep="; ",
                flush=True,
            )
    print(f"{moments} moments, {bad} bad, slowest {slowest:.2f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
