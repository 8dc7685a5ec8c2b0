"""Start a command on every card of a job, with MindSpore's msrun."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nasfpn_runtime import interrupts
from nasfpn_runtime.cluster.cards import STOP_FILE, STOPPABLE
from nasfpn_runtime.cluster.msrun import STARTER
from nasfpn_runtime.errors import DeviceError
from nasfpn_runtime.processes import last_line, python_command
from nasfpn_runtime.progress import say

PORT = 8118  # msrun's default
# Linux assigns higher ports to outgoing connections (ip_local_port_range).
PORTS = range(20_000, 32_768)
PERIOD = 0.2  # seconds between two checks of the logs
STOP = "stop"  # file in the folder of the logs that asks the cards to stop
ERROR = "nasfpn: error: "
_NOISE = re.compile(r"\[(INFO|WARNING)\] ")  # MindSpore's messages about its connections
_EXITED = re.compile(r"Worker process \d+ exit with exception. Error code: (-?\d+)")


@dataclass(frozen=True)
class ClusterJob:
    """The servers and processes of a job.

    Attributes:
        devices: number of cards used on each server, one process per card.
        nnodes: number of servers.
        node_rank: rank of this server, from 0.
        master: ``HOST[:PORT]`` of server 0, where all servers connect.
        rank_table: Ascend's description of the cluster; None if there is none.

    Raises:
        DeviceError: the values do not fit together, or ``rank_table`` is not a file.
    """

    devices: int = 1
    nnodes: int = 1
    node_rank: int = 0
    master: str | None = None
    rank_table: Path | None = None

    def __post_init__(self) -> None:
        if self.devices < 1:
            raise DeviceError(f"--devices must be 1 or more, got {self.devices}")
        if not 0 <= self.node_rank < self.nnodes:
            raise DeviceError(
                f"--node-rank must be from 0 to {self.nnodes - 1}, below --nnodes, got "
                f"{self.node_rank}"
            )
        if self.nnodes > 1 and self.master is None:
            raise DeviceError(f"--nnodes {self.nnodes} needs --master HOST[:PORT] of server 0")
        if self.master is not None and not re.fullmatch(r"[^:]+(:\d+)?", self.master):
            raise DeviceError(f"--master must be HOST or HOST:PORT, got {self.master}")
        if self.rank_table is not None and not self.rank_table.is_file():
            raise DeviceError(f"--rank-table must be a file, got {self.rank_table}")

    @property
    def cards(self) -> int:
        """Number of processes on all servers."""
        return self.devices * self.nnodes


def launch(arguments: Sequence[str], job: ClusterJob, logs: Path) -> None:
    """Run ``nasfpn`` with ``arguments`` on every card and print the output of the first one.

    Each process writes ``logs/worker_<rank>.log``. If one of them fails, or this process ends or
    is killed, all of them end. If it is interrupted, the cards save a checkpoint before.

    Raises:
        DeviceError: a process failed. The message has its reason, if it reported one.
    """
    logs.mkdir(parents=True, exist_ok=True)
    flags = logs / STOP, logs / STOPPABLE
    # Those of an earlier job, which may have had more cards.
    for old in [*logs.glob("worker_*.log"), logs / "scheduler.log", *flags]:
        old.unlink(missing_ok=True)
    _, *python_arguments = python_command("tools", *arguments)
    command, environment = launch_command(python_arguments, job, logs)
    output = _LogTail(logs / "worker_0.log")
    with (logs / "msrun.log").open("wb") as log:
        # A new session, so that Ctrl-C reaches this process only. The others end when it ends.
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        try:
            while process.poll() is None and _first_exit_code(logs) is None:
                output.print_new()
                time.sleep(PERIOD)
        except KeyboardInterrupt:
            with interrupts.allowing(interrupts.SAVING):
                _let_save(process, logs, output)
            raise
        finally:
            process.kill()
            code = process.wait()
            output.print_new()
    if code:
        raise DeviceError(f"{_failure_reason(logs)} (logs of all processes: {logs})")


def _let_save(process: subprocess.Popen[bytes], logs: Path, output: _LogTail) -> None:
    """Ask the cards to save a checkpoint after their step, and wait until they have done so."""
    end = time.monotonic() + interrupts.SAVING - 2 * PERIOD
    if (logs / STOPPABLE).exists():
        (logs / STOP).touch()
        while time.monotonic() < end:
            if process.poll() is not None or _first_exit_code(logs) is not None:
                return
            output.print_new()
            time.sleep(PERIOD)
    say("nothing was saved: the job resumes from its last checkpoint, or starts again without one")


class _LogTail:
    """Follow a growing log, leaving out MindSpore's messages about its connections."""

    def __init__(self, log: Path) -> None:
        self.log, self.offset = log, 0

    def print_new(self) -> None:
        """Print the lines that were completed since the last call."""
        if not self.log.exists():
            return
        with self.log.open("rb") as file:
            file.seek(self.offset)
            new = file.read()
        complete = new[: new.rfind(b"\n") + 1]
        self.offset += len(complete)
        for line in complete.decode(errors="replace").splitlines(keepends=True):
            if not _NOISE.match(line):
                print(line, end="", flush=True)


def launch_command(
    arguments: Sequence[str], job: ClusterJob, logs: Path
) -> tuple[list[str], dict[str, str]]:
    """Return the command and environment that run Python with ``arguments`` on every card."""
    host, _, port = (job.master or "127.0.0.1").partition(":")
    if not port:
        port = str(PORT if job.nnodes > 1 else _free_port())
    options = {
        "worker_num": job.cards,
        "local_worker_num": job.devices,
        "node_rank": job.node_rank,
        "master_addr": host,
        "master_port": port,
        "log_dir": logs,
        "join": True,
        "tail_worker_log": job.cards,  # no card: `launch` prints the log of the first one
    }
    if job.rank_table is not None:
        options["rank_table_file"] = job.rank_table
    settings = [f"--{name}={value}" for name, value in options.items()]
    msrun = python_command("nasfpn_runtime.cluster.msrun", *settings)
    # msrun runs the first `python` on the PATH. GLOG_v=3 shows MindSpore's errors only.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {"GLOG_v": "3"} | os.environ | {"PATH": path, STARTER: str(os.getpid())}
    environment[STOP_FILE] = str((logs / STOP).absolute())
    return [*msrun, "python", *arguments], environment


def _failure_reason(logs: Path) -> str:
    """Return the error that a process reported, or else how the first one ended.

    That is the last line of its log, or of msrun's log if no process has one.
    """
    for log in sorted(logs.glob("worker_*.log")):
        lines = log.read_text(errors="replace", encoding="utf-8").splitlines()
        errors = [line for line in lines if line.startswith(ERROR)]
        if errors:
            return errors[-1].removeprefix(ERROR)
    code = _first_exit_code(logs)
    how = f"with code {code}" if code else "without an error message"
    written = [
        log.read_text(errors="replace", encoding="utf-8")
        for log in sorted(logs.glob("worker_*.log"))
    ]
    last = next((line for line in map(_last_words, written) if line), "")
    if not written:
        last = last_line((logs / "msrun.log").read_text(errors="replace", encoding="utf-8"))
    how += f" ({last})" if last else ""
    return f"a worker process ended {how}, so the whole job was stopped; the same command resumes"


def _last_words(log: str) -> str:
    """Return the last line of a log that ends with a traceback, and an empty string for others."""
    _, traceback, error = log.rpartition("Traceback (most recent call last):")
    return last_line(error) if traceback else ""


def _first_exit_code(logs: Path) -> str | None:
    """Return the exit code of the process that failed first, or None if none has failed."""
    match = _EXITED.search((logs / "msrun.log").read_text(errors="replace", encoding="utf-8"))
    return match[1] if match else None


def _free_port() -> int:
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise DeviceError(
        f"cannot connect the cards: no port from {PORTS.start} to {PORTS.stop - 1} is free"
    )
