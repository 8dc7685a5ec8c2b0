"""Start a command once for each card of a job, through MindSpore's msrun."""

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

from nasfpn_runtime.cluster.msrun import STARTER
from nasfpn_runtime.errors import DeviceError

PORT = 8118  # msrun's
PORTS = range(20_000, 32_768)  # Linux gives higher ones to connections (ip_local_port_range)
PERIOD = 0.2  # seconds between two looks at the logs
ERROR = "nasfpn: error: "
_NOISE = re.compile(r"\[(INFO|WARNING)\] ")  # of MindSpore's connections
_ENDED = re.compile(r"Worker process \d+ exit with exception. Error code: (-?\d+)")


@dataclass(frozen=True)
class ClusterJob:
    """Which processes a job has.

    Attributes:
        devices: cards of this server, one process each.
        nnodes: servers, each with as many cards.
        node_rank: of this server, from 0.
        master: ``HOST[:PORT]`` of server 0, where all meet.
        rank_table: Ascend's description of the cluster, where there is one.
    """

    devices: int = 1
    nnodes: int = 1
    node_rank: int = 0
    master: str | None = None
    rank_table: Path | None = None

    def __post_init__(self) -> None:
        if self.devices < 1:
            raise DeviceError(f"--devices is 1 or more, got {self.devices}")
        if not 0 <= self.node_rank < self.nnodes:
            raise DeviceError(
                f"--node-rank is from 0 to below --nnodes {self.nnodes}, got {self.node_rank}"
            )
        if self.nnodes > 1 and self.master is None:
            raise DeviceError("several servers meet at one: give --master HOST[:PORT]")
        if self.master is not None and not re.fullmatch(r"[^:]+(:\d+)?", self.master):
            raise DeviceError(f"--master is HOST or HOST:PORT, got {self.master}")
        if self.rank_table is not None and not self.rank_table.is_file():
            raise DeviceError(f"--rank-table is a file, got {self.rank_table}")

    @property
    def cards(self) -> int:
        """Number of processes."""
        return self.devices * self.nnodes


def launch(arguments: Sequence[str], job: ClusterJob, logs: Path) -> None:
    """Run ``nasfpn`` with ``arguments`` on every card; the first one's output is shown.

    Each process writes ``logs/worker_<rank>.log``. All end when one ends with an error, and
    when this process ends, however it does.

    Raises:
        DeviceError: a process failed; the message has its reason where it gave one.
    """
    logs.mkdir(parents=True, exist_ok=True)
    for log in logs.glob("*.log"):  # of an earlier job, maybe of more cards
        log.unlink()
    command, environment = launch_command(["-m", "tools", *arguments], job, logs)
    shown = _Lines(logs / "worker_0.log")
    with (logs / "msrun.log").open("wb") as own:
        # In a session of its own: Ctrl-C is for this process, and ends the others by its end.
        process = subprocess.Popen(
            command, stdout=own, stderr=own, env=environment, start_new_session=True
        )
        try:
            while process.poll() is None and _first_end(logs) is None:
                shown.print_new()
                time.sleep(PERIOD)
        finally:
            process.kill()
            code = process.wait()
            shown.print_new()
    if code:
        raise DeviceError(f"{_reason(logs)} (logs of all: {logs})")


class _Lines:
    """The lines of a log that grows, but for MindSpore's about its connections."""

    def __init__(self, log: Path) -> None:
        self.log, self.place = log, 0

    def print_new(self) -> None:
        """Print the lines that ended since the last time."""
        if not self.log.exists():
            return
        with self.log.open("rb") as file:
            file.seek(self.place)
            new = file.read()
        ended = new[: new.rfind(b"\n") + 1]
        self.place += len(ended)
        for line in ended.decode(errors="replace").splitlines(keepends=True):
            if not _NOISE.match(line):
                print(line, end="", flush=True)


def launch_command(
    arguments: Sequence[str], job: ClusterJob, logs: Path
) -> tuple[list[str], dict[str, str]]:
    """Return how msrun starts Python with ``arguments`` on every card: command, environment."""
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
        "tail_worker_log": job.cards,  # no card's: `launch` shows the first one's to its end
    }
    if job.rank_table is not None:
        options["rank_table_file"] = job.rank_table
    settings = [f"--{name}={value}" for name, value in options.items()]
    msrun = [sys.executable, "-m", "nasfpn_runtime.cluster.msrun", *settings]
    # msrun takes the first `python` there is; GLOG_v=3 leaves MindSpore's errors.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {"GLOG_v": "3"} | os.environ | {"PATH": path, STARTER: str(os.getpid())}
    return [*msrun, "python", *arguments], environment


def _reason(logs: Path) -> str:
    """Return the error that a process gave, or how the first one ended."""
    for log in sorted(logs.glob("worker_*.log")):
        lines = log.read_text(errors="replace").splitlines()
        told = [line for line in lines if line.startswith(ERROR)]
        if told:
            return told[-1].removeprefix(ERROR)
    code = _first_end(logs)
    how = f"with code {code}" if code else "without a word"
    return f"a process of the job ended {how}, so the others were ended"


def _first_end(logs: Path) -> str | None:
    """Return the code that the first process to fail ended with, if one did."""
    found = _ENDED.search((logs / "msrun.log").read_text(errors="replace"))
    return found[1] if found else None


def _free_port() -> int:
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise DeviceError(f"the cards meet at a free port, got none in {PORTS}")
