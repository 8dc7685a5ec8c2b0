"""Memory for the arrays of batches, reused from batch to batch."""

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
        sizes: (N, 2) int32, height and width of each picture within its image.
        labels: (N, A) int32, class from 0, -1 background, -2 ignored.
        deltas: (N, A, 4) float32, zero unless positive.
    """

    images: NDArray[np.uint8]
    sizes: NDArray[np.int32]
    labels: NDArray[np.int32]
    deltas: NDArray[np.float32]

    def copies(self) -> Arrays:
        """Return copies that own their memory."""
        images, sizes, labels, deltas = self
        return Arrays(images.copy(), sizes.copy(), labels.copy(), deltas.copy())


@dataclass(frozen=True)
class BatchLayout:
    """Sizes of the arrays of a batch.

    Attributes:
        pictures: number of images.
        size: (height, width) of each.
        anchors: number of anchors of each.
    """

    pictures: int
    size: tuple[int, int]
    anchors: int

    @property
    def bytes(self) -> int:
        """Memory that the arrays need."""
        height, width = self.size
        return self.pictures * (20 * self.anchors + 8 + 3 * height * width)

    def arrays(self, memory: Any) -> Arrays:
        """Return arrays that are views of a block of ``bytes`` bytes, with its contents."""
        block, end = np.frombuffer(memory, np.uint8), 0

        def cut(dtype: type[np.generic], *shape: int) -> NDArray[Any]:
            nonlocal end
            start, end = end, end + self.pictures * int(np.prod(shape)) * dtype().itemsize
            return block[start:end].view(dtype).reshape(self.pictures, *shape)

        # Widest dtype first, so that every array is aligned.
        deltas = cut(np.float32, self.anchors, 4)
        labels = cut(np.int32, self.anchors)
        sizes = cut(np.int32, 2)
        return Arrays(cut(np.uint8, 3, *self.size), sizes, labels, deltas)


class Buffers:
    """A pool of memory blocks. A block is reused once no array refers to it.

    Reuse is faster than allocation: the system zeroes new memory page by page at the first
    write, which takes longer than scaling an image.
    """

    def __init__(self, blocks: Sequence[Any], layout: BatchLayout) -> None:
        self.blocks, self.layout = blocks, layout
        self._free = deque(range(len(blocks)))

    def take(self) -> tuple[int, Arrays]:
        """Return the index of a free block and the arrays in it, with arbitrary contents.

        Raises:
            IndexError: no block is free.
        """
        index = self._free.popleft()
        # All arrays are views of this one, so that it lives as long as any of them. The block
        # itself is not an array, so numpy does not skip this one and make it their base.
        base = np.frombuffer(self.blocks[index], np.uint8)
        weakref.finalize(base, self._free.append, index).atexit = False
        return index, self.layout.arrays(base)

    def __len__(self) -> int:
        """Return the number of free blocks."""
        return len(self._free)
