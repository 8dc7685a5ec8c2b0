"""Start a command once for each card of a job, through MindSpore's msrun."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nasfpn_runtime.errors import DeviceError

PORT = 8118  # msrun's
ERROR = "nasfpn: error: "
_NOISE = re.compile(r"\[(INFO|WARNING)\] ")  # of MindSpore's connections
_ENDED = re.compile(r"Worker process \d+ exit with exception. Error code: (-?\d+)")


@dataclass(frozen=True)
class Job:
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
        if self.rank_table is not None and not self.rank_table.is_file():
            raise DeviceError(f"--rank-table is a file, got {self.rank_table}")

    @property
    def cards(self) -> int:
        """Number of processes."""
        return self.devices * self.nnodes


def launch(arguments: Sequence[str], job: Job, logs: Path) -> None:
    """Run ``nasfpn`` with ``arguments`` on every card; the first one's output is shown.

    Each process writes ``logs/worker_<rank>.log``. When one ends with an error msrun ends all
    others, and itself once it has missed their signs of life, which takes half a minute.

    Raises:
        DeviceError: a process failed; the message has its reason where it gave one.
        KeyboardInterrupt: as here, so there.
    """
    logs.mkdir(parents=True, exist_ok=True)
    command, environment = launch_command(["-m", "tools", *arguments], job, logs)
    with (logs / "msrun.log").open("wb") as own:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=own, env=environment, text=True
        )
        try:
            for line in process.stdout or ():
                if not _NOISE.match(line):
                    print(line, end="", flush=True)
            code = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)  # it ends the others
            process.wait()
            raise
    if code:
        raise DeviceError(f"{_reason(logs)} (logs of all: {logs})")


def launch_command(
    arguments: Sequence[str], job: Job, logs: Path
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
        "tail_worker_log": 0,
    }
    if job.rank_table is not None:
        options["rank_table_file"] = job.rank_table
    settings = [f"--{name}={value}" for name, value in options.items()]
    msrun = [sys.executable, "-m", "mindspore.parallel.cluster.run", *settings]
    # msrun takes the first `python` there is; GLOG_v=3 leaves MindSpore's errors.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return [*msrun, "python", *arguments], {"GLOG_v": "3"} | os.environ | {"PATH": path}


def _reason(logs: Path) -> str:
    """Return the error that a process gave, or how the first one ended."""
    for log in sorted(logs.glob("worker_*.log")):
        lines = log.read_text(errors="replace").splitlines()
        told = [line for line in lines if line.startswith(ERROR)]
        if told:
            return told[-1].removeprefix(ERROR)
    found = _ENDED.search((logs / "msrun.log").read_text(errors="replace"))
    how = f"with code {found[1]}" if found else "without a word"
    return f"a process of the job ended {how}, so the others were ended"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
