"""Training batches of a split: a function of (seed, epoch), whatever number of workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.batches.buffers import Arrays, BatchLayout, Buffers
from nasfpn_runtime.batches.cache import CACHE_BYTES
from nasfpn_runtime.batches.workers import Workers
from nasfpn_runtime.data.backgrounds import backgrounds, check_backgrounds
from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.data.entry import Id
from nasfpn_runtime.errors import DeviceError, RecipeError
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.recipe.settings import Training

PREFETCH = 2  # batches to prepare while one is trained on
# Batches that the caller still refers to: a loop variable keeps the last batch alive while the
# loop asks for the next one.
HELD_BY_CALLER = 2

_PendingBatch = tuple[Arrays, list[Future[list[Id]]]]


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
    pictures: tuple[Id, ...]


def check_shares(training: Training, cards: int) -> None:
    """Check that a batch can be divided into equal parts, ``accumulate`` for each card.

    Raises:
        RecipeError: ``training.batch`` is not a multiple of the cards times ``accumulate``.
    """
    if training.batch % (cards * training.accumulate):
        raise RecipeError(
            f"training.batch must be a multiple of the cards times training.accumulate, got "
            f"{training.batch} for {cards} times {training.accumulate}"
        )


class TrainLoader:
    """Augmented, matched training batches of the images that have boxes, and of backgrounds.

    Every epoch is a new permutation of the images with boxes. The augmentation of an image depends
    on (seed, epoch, image) only. The last, incomplete batch is dropped; a split smaller than a
    batch gives one batch in which images repeat.

    ``Recipe.backgrounds`` images of each batch have no boxes. They are spread evenly over the
    batch, so that all cards and all parts of an accumulated batch have their share. In each epoch
    they are taken from a permutation of their own, which is repeated if it is too short. The
    length of an epoch is decided by the images with boxes.

    Args:
        workers: what prepares the images: 0 for the calling thread, 1 for a background thread,
            N > 1 for N processes; see ``workers.Workers``. The batches do not depend on it.
        shard: (rank, count) of this card. Its batches are part ``rank`` of ``count`` equal,
            contiguous parts of the recipe's batches.
        cache_bytes: see :class:`Pictures`; processes divide it between them.

    Raises:
        RecipeError: see :func:`check_shares`.
        DataError: see ``backgrounds.check_backgrounds``.
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
        check_shares(recipe.training, self.cards)
        self.batch, self.seed = recipe.training.batch, seed
        self.split, self.count = split, workers
        check_backgrounds(split, recipe.data.background)
        self.indices, self.backgrounds = split.with_boxes, backgrounds(split)
        self.negatives = recipe.backgrounds  # of each batch
        self._layout = BatchLayout(
            self.batch // self.cards,
            recipe.image_size(levels),
            len(recipe.anchor_boxes(levels)),
        )
        self._arguments = (split, recipe, tuple(levels), seed, cache_bytes // max(1, workers))
        self._prefetch = PREFETCH if workers else 0
        self._running: tuple[Workers, Buffers] | None = None

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return max(1, len(self.indices) // (self.batch - self.negatives))

    def epoch(self, epoch: int, skipped: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch, counted from 0. Iterate over one epoch at a time.

        The first ``skipped`` batches, which a resumed run has trained on, are left out.

        At most ``PREFETCH`` batches are prepared in advance. If the preparation of a batch
        fails, the error is raised when that batch is due.

        Raises:
            DataError: an image cannot be read.
            DeviceError: a worker process died.
        """
        workers, buffers = self._start()
        pending: deque[_PendingBatch] = deque()
        try:
            for indices in islice(self._order(epoch), skipped, None):
                block, arrays = buffers.take()
                pending.append((arrays, workers.fill(block, indices, epoch)))
                del arrays  # else this variable would keep the block from being reused
                if len(pending) > self._prefetch:
                    yield self._next_batch(pending, buffers)
            while pending:
                yield self._next_batch(pending, buffers)
        except BrokenProcessPool as error:
            raise DeviceError(
                "cannot prepare images: a worker process died, from a signal or for lack of "
                "memory; fewer --workers need less memory, and the same command resumes the run "
                "from its last checkpoint"
            ) from error
        finally:
            for _, futures in pending:
                for future in futures:
                    future.cancel()
                wait(futures)  # nothing may write to a block that is reused

    def close(self) -> None:
        """End the workers. A later epoch starts new ones."""
        if self._running is not None:
            self._running[0].close()
            self._running = None

    def __enter__(self) -> TrainLoader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _start(self) -> tuple[Workers, Buffers]:
        """Return the workers and their buffers, started if need be."""
        if self._running is None:
            blocks = self._prefetch + 1 + HELD_BY_CALLER
            workers = Workers(self.count, blocks, self._layout, *self._arguments)
            self._running = workers, Buffers(workers.blocks, self._layout)
        return self._running

    def _next_batch(self, pending: deque[_PendingBatch], buffers: Buffers) -> Batch:
        """Wait for the first pending batch, remove it from ``pending`` and return it."""
        arrays, futures = pending[0]
        ids = tuple(number for future in futures for number in future.result())
        pending.popleft()
        # The caller keeps earlier batches, so that their blocks do not become free.
        if len(pending) + len(buffers) <= self._prefetch:
            arrays = arrays.copies()
        return Batch(*arrays, ids)

    def _order(self, epoch: int) -> Iterator[list[int]]:
        """Yield the indices into ``split.samples`` of each of this card's batches."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.indices)
        # A stream that the augmentation of no image has, see Preparer.
        rng = np.random.default_rng((self.seed, epoch, 0, 2))
        negatives = rng.permutation(self.backgrounds)
        share = self.batch // self.cards
        for batch in range(len(self)):
            start = batch * self.batch + self.rank * share
            places = np.arange(start, start + share + 1)
            before = places * self.negatives // self.batch  # backgrounds at earlier places
            indices = np.take(order, (places - before)[:-1], mode="wrap")
            is_negative = np.diff(before) > 0
            if is_negative.any():
                indices[is_negative] = np.take(negatives, before[:-1][is_negative], mode="wrap")
            yield indices.tolist()
