"""The arrays of a batch, in memory that is used again and again."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Arrays(NamedTuple):
    """The arrays of a batch.

    Attributes:
        images: (N, 3, H, W) uint8 RGB, each picture at the top left, zeros around it.
        sizes: (N, 2) int32, height and width of the picture in there.
        labels: (N, A) int32, class from 0, -1 background, -2 ignored.
        deltas: (N, A, 4) float32, zero unless positive.
    """

    images: NDArray[np.uint8]
    sizes: NDArray[np.int32]
    labels: NDArray[np.int32]
    deltas: NDArray[np.float32]

    def copies(self) -> Arrays:
        """Return the same in memory of their own."""
        images, sizes, labels, deltas = self
        return Arrays(images.copy(), sizes.copy(), labels.copy(), deltas.copy())


@dataclass(frozen=True)
class BatchLayout:
    """What the arrays of a batch need: pictures, their (height, width), anchors of each."""

    pictures: int
    size: tuple[int, int]
    anchors: int

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        height, width = self.size
        return self.pictures * (20 * self.anchors + 8 + 3 * height * width)

    def arrays(self, memory: Any) -> Arrays:
        """Return the arrays that lie in memory of that many bytes, of any content."""
        whole, start = np.frombuffer(memory, np.uint8), 0

        def cut(dtype: type[np.generic], *shape: int) -> NDArray[Any]:
            nonlocal start
            first, start = start, start + self.pictures * int(np.prod(shape)) * dtype().itemsize
            return whole[first:start].view(dtype).reshape(self.pictures, *shape)

        # The widest first, so that each is aligned.
        deltas = cut(np.float32, self.anchors, 4)
        labels = cut(np.int32, self.anchors)
        sizes = cut(np.int32, 2)
        return Arrays(cut(np.uint8, 3, *self.size), sizes, labels, deltas)


class Buffers:
    """Gives out blocks of memory, and again when nobody refers to their arrays any more.

    New memory is zeroed by the system page by page when it is first written to, which takes
    longer than scaling a picture.
    """

    def __init__(self, blocks: Sequence[Any], layout: BatchLayout) -> None:
        self.blocks, self.layout = blocks, layout
        self._free = deque(range(len(blocks)))

    def take(self) -> tuple[int, Arrays]:
        """Return the number of a free block and the arrays in it, of any content.

        Raises:
            IndexError: no block is free.
        """
        number = self._free.popleft()
        # Every view of this array refers to it, not to the memory, which is no array.
        whole = np.frombuffer(self.blocks[number], np.uint8)
        weakref.finalize(whole, self._free.append, number).atexit = False
        return number, self.layout.arrays(whole)

    def __len__(self) -> int:
        """Return the number of free blocks."""
        return len(self._free)
