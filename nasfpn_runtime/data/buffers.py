"""Memory of large arrays that is used again."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Buffers:
    """Gives out arrays of one shape, in memory of those that nobody refers to any more.

    New memory is zeroed by the system page by page when it is first written to, which takes
    longer than normalising a picture. As many arrays are kept as were ever in use at once.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._free: deque[bytearray] = deque()

    def take(self) -> NDArray[Any]:
        """Return an array of any content."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = bytearray(int(np.prod(self.shape)) * self.dtype.itemsize)
        # Every view of this array refers to it, not to the memory, which is no array.
        whole = np.frombuffer(memory, self.dtype)
        weakref.finalize(whole, self._free.append, memory).atexit = False
        return whole.reshape(self.shape)
