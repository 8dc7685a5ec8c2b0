"""The cards of a run: one process each, connected by MindSpore's collectives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.cluster.msrun import end_with_starter
from nasfpn_runtime.errors import DeviceError

Array = NDArray[np.float32]

# Variables with the number of processes: from a rank table, and from msrun.
COUNTS = ("RANK_SIZE", "MS_WORKER_NUM")

# Variable with the path of a file that appears when the user interrupts a job, and name of a file
# beside it that says that the cards look for it.
STOP_FILE, STOPPABLE = "NASFPN_STOP_FILE", "stoppable"


@dataclass(frozen=True)
class Cards:
    """The rank of this process among the processes that train together; rank 0 writes the files."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all cards, in float32."""
        if self.count == 1:
            return list(values)
        return [float(v) for v in _all_reduce(np.array(values, np.float32))]

    def can_be_asked_to_stop(self) -> None:
        """Let the process that started the cards know that from now on they heed its request."""
        if self.first and STOP_FILE in os.environ:
            Path(os.environ[STOP_FILE]).with_name(STOPPABLE).touch()

    def asked_to_stop(self) -> bool:
        """Return whether the user has interrupted the process that started this card."""
        return STOP_FILE in os.environ and os.path.exists(os.environ[STOP_FILE])

    def mean(self, array: Array) -> Array:
        """Return the mean over all cards of an array that has the same shape on each."""
        return array if self.count == 1 else _all_reduce(array) / np.float32(self.count)

    def gather(self, rows: Array) -> Array:
        """Return the rows (n, k) of all cards in order of rank; ``n`` may differ between cards."""
        if self.count == 1:
            return rows
        counts = [
            int(v) for v in self.sum([len(rows) * (r == self.rank) for r in range(self.count)])
        ]
        start = sum(counts[: self.rank])
        table = np.zeros((sum(counts), rows.shape[1]), np.float32)
        table[start : start + len(rows)] = rows
        return _all_reduce(table)


ALONE = Cards()


def is_distributed() -> bool:
    """Return whether this process was started as one of several that train together."""
    return any(os.environ.get(name, "1") != "1" for name in COUNTS)


def join() -> Cards:
    """Connect to the other processes of the run and return this one's rank among them.

    From then on, this process ends when the process that started it ends.

    Raises:
        DeviceError: the other processes cannot be reached.
    """
    if not is_distributed():
        return ALONE
    end_with_starter()
    from mindspore import communication

    try:
        communication.init()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise DeviceError(f"cannot connect the cards of this run: {reason}") from None
    return Cards(communication.get_rank(), communication.get_group_size())


def _all_reduce(array: Array) -> Array:
    """Return the sum over all cards. It is exact where all cards but one have zeros."""
    from mindspore import Tensor, ops

    total: Array = ops.AllReduce()(Tensor(array)).asnumpy()
    return total
