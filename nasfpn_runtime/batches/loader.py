"""Batches of a split, a function of (seed, epoch) alone, however many workers prepare them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.batches.buffers import Arrays, BatchLayout, Buffers
from nasfpn_runtime.batches.cache import CACHE_BYTES
from nasfpn_runtime.batches.workers import Workers
from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.errors import DeviceError, RecipeError
from nasfpn_runtime.recipe.recipe import Recipe

AHEAD = 2  # batches being prepared while one is trained on
# The caller works on one, and a loop still names it when it asks for the next.
LENT = 2

_Waiting = tuple[Arrays, list[Future[list[int]]]]


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs of a training step.

    Attributes:
        images, sizes, labels, deltas: see ``buffers.Arrays``.
        pictures: (N,) image ids, as in the annotation file.
    """

    images: NDArray[np.uint8]
    sizes: NDArray[np.int32]
    labels: NDArray[np.int32]
    deltas: NDArray[np.float32]
    pictures: tuple[int, ...]


class TrainLoader:
    """Augmented, matched training batches of the pictures that have boxes.

    Every epoch is a new permutation; a picture's augmentation depends on (seed, epoch,
    picture) only. The last, incomplete batch is dropped; a split smaller than a batch
    gives one batch that repeats pictures.

    Args:
        workers: what prepares pictures: 0 nothing else, 1 a thread, more as many processes; see
            ``workers.Workers``. The batches are the same.
        shard: (rank, count): batches are every card's ``count``-th part of the recipe's, cut
            in order.
        cache_bytes: see :class:`Pictures`; processes share it out.

    Raises:
        RecipeError: a batch is not divided evenly over the cards.
    """

    def __init__(
        self,
        split: Split,
        recipe: Recipe,
        levels: Sequence[int],
        seed: int,
        *,
        workers: int = 0,
        shard: tuple[int, int] = (0, 1),
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.rank, self.cards = shard
        self.batch, self.seed = recipe.training.batch, seed
        if self.batch % self.cards:
            raise RecipeError(
                f"training.batch is a multiple of the number of cards, got "
                f"{self.batch} and {self.cards} cards"
            )
        self.split, self.count = split, workers
        self.indices = split.with_boxes
        self._layout = BatchLayout(
            self.batch // self.cards,
            recipe.image_size(levels),
            len(recipe.anchor_boxes(levels)),
        )
        self._arguments = (split, recipe, tuple(levels), seed, cache_bytes // max(1, workers))
        self._ahead = AHEAD if workers else 0
        self._workers: Workers | None = None

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return max(1, len(self.indices) // self.batch)

    def epoch(self, epoch: int) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch, counted from 0; one epoch at a time.

        At most ``AHEAD`` more batches than the last one yielded are prepared. An error is
        raised where its batch would be.

        Raises:
            DataError: a picture cannot be read.
            DeviceError: a process that prepares pictures died.
        """
        workers, buffers = self._started()
        waiting: deque[_Waiting] = deque()
        try:
            for indices in self._order(epoch):
                block, arrays = buffers.take()
                waiting.append((arrays, workers.fill(block, indices, epoch)))
                del arrays  # whose memory is free when the caller drops them
                if len(waiting) > self._ahead:
                    yield self._finished(waiting, buffers)
            while waiting:
                yield self._finished(waiting, buffers)
        except BrokenProcessPool as error:
            raise DeviceError(
                "the processes that prepare pictures live, got one that died, for want of memory "
                "or by a signal: fewer --workers need less, and a run goes on from its last "
                "checkpoint"
            ) from error
        finally:
            for _, filled in waiting:
                for future in filled:
                    future.cancel()
                wait(filled)  # nobody writes to memory that is given out again

    def close(self) -> None:
        """End the workers; a later epoch starts them anew."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def __enter__(self) -> TrainLoader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _started(self) -> tuple[Workers, Buffers]:
        if self._workers is None:
            blocks = self._ahead + 1 + LENT
            self._workers = Workers(self.count, blocks, self._layout, *self._arguments)
            self._buffers = Buffers(self._workers.blocks, self._layout)
        return self._workers, self._buffers

    def _finished(self, waiting: deque[_Waiting], buffers: Buffers) -> Batch:
        """Take the first batch of those that wait, when it is done."""
        arrays, filled = waiting[0]
        ids = tuple(number for future in filled for number in future.result())
        waiting.popleft()
        if len(waiting) + len(buffers) <= self._ahead:  # the caller keeps earlier batches
            arrays = arrays.copies()
        return Batch(*arrays, ids)

    def _order(self, epoch: int) -> Iterator[list[int]]:
        """Yield the places of the pictures in each of this card's batches."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.indices)
        share = self.batch // self.cards
        for batch in range(len(self)):
            start = batch * self.batch + self.rank * share
            yield np.take(order, range(start, start + share), mode="wrap").tolist()
