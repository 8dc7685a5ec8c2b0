"""Which of a job's processes this is, from the environment that its launcher gave it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from nasfpn_runtime.cluster.cards import COUNTS
from nasfpn_runtime.errors import DeviceError

# Of a process that trains: msrun, and starts from a rank table (model zoo
# src/model_utils/local_adapter.py, scripts/run_distribute_train.sh).
RANK = ("RANK_ID",)

# Of a server: support.huaweicloud.com, "Managing Environment Variables of a Training Container".
SERVERS = ("MA_NUM_HOSTS",)  # says that this is ModelArts
SERVER = ("VC_TASK_INDEX",)
HOSTS = "VC_WORKER_HOSTS"  # names of all servers, in order, with commas between


@dataclass(frozen=True)
class Node:
    """A process among those of its job; all count from 0.

    Attributes:
        rank: among the processes that train; None in what launches them, or alone.
        server, servers: this server among those of the job.
        master: name of server 0; None for a job of one server.
    """

    rank: int | None
    server: int
    servers: int
    master: str | None


def this_node(environ: Mapping[str, str] = os.environ) -> Node:
    """Return the this_node of this process; that of a job of its own where nothing says otherwise.

    Raises:
        DeviceError: a variable is not a whole number, or a this_node is outside its job.
    """
    rank, servers = _number(environ, RANK), _number(environ, SERVERS) or 1
    server = _number(environ, SERVER) or 0 if SERVERS[0] in environ else 0
    for name, value, count in (
        (RANK[0], rank or 0, _number(environ, COUNTS) or 1),
        (SERVER[0], server, servers),
    ):
        if value >= count:
            raise DeviceError(f"{name} is below the job's {count}, got {value}")
    first = environ.get(HOSTS, "").split(",")[0]
    return Node(rank, server, servers, first if servers > 1 and first else None)


def _number(environ: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    for name in names:
        if text := environ.get(name):
            if not text.isdecimal():
                raise DeviceError(f"{name} is a whole number from 0, got {text!r}")
            return int(text)
    return None
