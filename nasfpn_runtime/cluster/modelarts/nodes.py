"""The position of a process in its job, from the environment variables of its launcher."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from nasfpn_runtime.cluster.cards import COUNTS
from nasfpn_runtime.errors import DeviceError

# Rank of a training process. Set by msrun and by starts from a rank table (model zoo
# src/model_utils/local_adapter.py, scripts/run_distribute_train.sh).
RANK = "RANK_ID"

# Source: support.huaweicloud.com, "Managing Environment Variables of a Training Container".
SERVERS = "MA_NUM_HOSTS"  # number of servers; its presence shows that this is ModelArts
SERVER = "VC_TASK_INDEX"  # rank of this server
HOSTS = "VC_WORKER_HOSTS"  # names of all servers in order of rank, separated by commas


@dataclass(frozen=True)
class Node:
    """The position of a process in its job.

    Attributes:
        rank: rank among the training processes, from 0; None in the process that launches them,
            or if there is only one.
        server: rank of this server, from 0.
        servers: number of servers of the job.
        master: name of server 0; None for a job on one server.
    """

    rank: int | None
    server: int
    servers: int
    master: str | None


def this_node(environ: Mapping[str, str] = os.environ) -> Node:
    """Return the position of this process; without variables, that of a job of one process.

    Raises:
        DeviceError: a variable is not a whole number, or a rank is not below its count.
    """
    rank, servers = _number(environ, RANK), _number(environ, SERVERS) or 1
    server = _number(environ, SERVER) or 0 if SERVERS in environ else 0
    for name, value, count, what in (
        (RANK, rank or 0, _number(environ, *COUNTS) or 1, "processes"),
        (SERVER, server, servers, "servers"),
    ):
        if value >= count:
            raise DeviceError(
                f"{name} must be below {count}, the number of {what} of the job, got {value}"
            )
    first = environ.get(HOSTS, "").split(",")[0]
    return Node(rank, server, servers, first if servers > 1 and first else None)


def _number(environ: Mapping[str, str], *names: str) -> int | None:
    """Return the value of the first of the variables that is set and not empty, or None."""
    for name in names:
        if text := environ.get(name):
            if not text.isdecimal():
                raise DeviceError(f"{name} must be a whole number from 0, got {text!r}")
            return int(text)
    return None
