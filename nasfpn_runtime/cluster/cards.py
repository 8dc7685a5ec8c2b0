"""The cards that one run trains on: one process each, joined by MindSpore's collectives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.cluster.msrun import end_with_starter
from nasfpn_runtime.errors import DeviceError

Array = NDArray[np.float32]

COUNTS = ("RANK_SIZE", "MS_WORKER_NUM")  # of processes: with a rank table, and msrun's


@dataclass(frozen=True)
class Cards:
    """This process's place among those that train together; the first writes the files."""

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

    def mean(self, array: Array) -> Array:
        """Return the mean over all cards of an array that has one shape on all."""
        return array if self.count == 1 else _all_reduce(array) / np.float32(self.count)

    def gather(self, rows: Array) -> Array:
        """Return the rows (n, k) of all cards, those of the first card first."""
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


def several() -> bool:
    """Return whether this process was started as one of several that train together."""
    return any(os.environ.get(name, "1") != "1" for name in COUNTS)


def join() -> Cards:
    """Return this process's place among those it was started with, connected to them.

    From here on it ends with what started it.

    Raises:
        DeviceError: the others cannot be reached.
    """
    if not several():
        return ALONE
    end_with_starter()
    from mindspore import communication

    try:
        communication.init()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise DeviceError(f"the cards of this run cannot reach each other: {reason}") from None
    return Cards(communication.get_rank(), communication.get_group_size())


def _all_reduce(array: Array) -> Array:
    """Return the sum over all cards; adding zeros, of one value only, is exact."""
    from mindspore import Tensor, ops

    total: Array = ops.AllReduce()(Tensor(array)).asnumpy()
    return total
