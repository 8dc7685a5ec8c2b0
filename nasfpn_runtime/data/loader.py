"""Batches of a split, a function of (seed, epoch) alone, however many threads prepare them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.config import Recipe
from nasfpn_runtime.data.augment import Part
from nasfpn_runtime.data.buffers import Buffers
from nasfpn_runtime.data.coco import CocoSplit
from nasfpn_runtime.data.image import normalise
from nasfpn_runtime.data.pictures import CACHE_BYTES, Pictures
from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.matching import Matcher

__all__ = ["CACHE_BYTES", "Batch", "Pictures", "TrainLoader"]

AHEAD = 2  # batches being prepared while one is trained on
REPLACEMENTS = 1000  # tries to find a picture that keeps a box (mmengine's max_refetch)


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs of a training step.

    Attributes:
        images: (N, 3, H, W) float32.
        labels: (N, A) int32, class from 0, -1 background, -2 ignored.
        deltas: (N, A, 4) float32, zero unless positive.
        pictures: (N,) image ids, as in the annotation file.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int32]
    deltas: NDArray[np.float32]
    pictures: tuple[int, ...]


class _Draft(NamedTuple):
    """The arrays of a batch, filled picture by picture."""

    images: NDArray[np.float32]
    labels: NDArray[np.int32]
    deltas: NDArray[np.float32]


class TrainLoader:
    """Augmented, matched training batches of the pictures that have boxes.

    Every epoch is a new permutation; a picture's augmentation depends on (seed, epoch,
    picture) only. The last, incomplete batch is dropped; a split smaller than a batch
    gives one batch that repeats pictures.

    Args:
        workers: threads that prepare pictures; 0 prepares them when they are asked for. The
            batches are the same. Most of the work is done outside of the interpreter's lock, so
            that threads are as fast as processes, and share the pictures in memory.
        shard: (rank, count): batches are every card's ``count``-th part of the recipe's, cut
            in order.
        cache_bytes: see :class:`Pictures`.

    Raises:
        RecipeError: a batch is not divided evenly over the cards.
    """

    def __init__(
        self,
        split: CocoSplit,
        recipe: Recipe,
        levels: Sequence[int],
        seed: int,
        *,
        workers: int = 0,
        shard: tuple[int, int] = (0, 1),
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.rank, self.cards = shard
        if recipe.training.batch % self.cards:
            raise RecipeError(
                f"training.batch is a multiple of the number of cards, got "
                f"{recipe.training.batch} and {self.cards} cards"
            )
        self.pictures = Pictures(split, recipe.image_size(levels), recipe.data, cache_bytes)
        self.recipe, self.seed, self.batch = recipe, seed, recipe.training.batch
        self.workers = workers
        normalised = recipe.matching.normalised
        self.anchors = recipe.anchor_boxes(levels, normalised=normalised)
        self.matcher = Matcher(self.anchors, recipe.matching, recipe.box_code)
        height, width = self.pictures.size if normalised else (1, 1)
        self.unit = np.array([width, height] * 2, dtype=np.float32)  # of anchors, in pixels
        self.first_label = int(recipe.model.resolved_semantics().background)
        share, anchors = self.batch // self.cards, len(self.anchors)
        self._buffers = (
            Buffers((share, 3, *self.pictures.size), np.float32),
            Buffers((share, anchors), np.int32),
            Buffers((share, anchors, 4), np.float32),
        )
        self.indices = np.array([i for i, s in enumerate(split.samples) if len(s.boxes)])

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return max(1, len(self.indices) // self.batch)

    def epoch(self, epoch: int) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch, counted from 0.

        With ``workers`` at most ``AHEAD`` more batches than the last one yielded are in
        memory. An error of a thread is raised where its batch would be; closing the iterator
        ends the threads.
        """
        if not self.workers:
            for indices in self._order(epoch):
                draft = self._draft()
                ids = [self._fill(draft, i, index, epoch) for i, index in enumerate(indices)]
                yield Batch(*draft, tuple(ids))
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="pictures")
        try:
            yield from self._prefetched(pool, epoch)
        finally:
            pool.shutdown(cancel_futures=True)

    def _prefetched(self, pool: ThreadPoolExecutor, epoch: int) -> Iterator[Batch]:
        waiting: deque[tuple[_Draft, list[Future[int]]]] = deque()
        for indices in self._order(epoch):
            draft = self._draft()
            waiting.append(
                (
                    draft,
                    [
                        pool.submit(self._fill, draft, i, index, epoch)
                        for i, index in enumerate(indices)
                    ],
                )
            )
            if len(waiting) > AHEAD:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())

    def _order(self, epoch: int) -> Iterator[list[int]]:
        """Yield the places of the pictures in each of this card's batches."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.indices)
        share = self.batch // self.cards
        for batch in range(len(self)):
            start = batch * self.batch + self.rank * share
            yield np.take(order, range(start, start + share), mode="wrap").tolist()

    def _draft(self) -> _Draft:
        return _Draft(*(buffers.take() for buffers in self._buffers))

    def _fill(self, draft: _Draft, place: int, index: int, epoch: int) -> int:
        """Write picture ``index``, or what replaces it, to a place of a batch; return its id."""
        index, (image, boxes, labels) = self._varied(index, epoch)
        boxes, crowd = boxes / self.unit, labels < 0
        # Classes begin after the background's; what is no class is below 0.
        self.matcher(
            boxes[~crowd],
            labels[~crowd] + self.first_label,
            boxes[crowd],
            out=(draft.labels[place], draft.deltas[place]),
        )
        normalise(image, self.pictures.size, out=draft.images[place])
        return self.pictures.split.samples[index].image_id

    def _varied(self, index: int, epoch: int) -> tuple[int, Part]:
        """Return a picture of the input's size with its changes, and which one it is."""
        # Two streams, so that what happens to stored pictures does not move the other draws.
        stored = np.random.default_rng((self.seed, epoch, index, 1))
        fitted = np.random.default_rng((self.seed, epoch, index))
        augment = self.recipe.data.augment
        for _ in range(REPLACEMENTS if augment.replaces else 1):
            part = self._arranged(index, stored)
            if (part[2] >= 0).any() or not augment.replaces:
                break
            index = int(stored.choice(self.indices))
        return index, augment.apply(*part, fitted, self.pictures.size)

    def _arranged(self, index: int, rng: np.random.Generator) -> Part:
        """Return a picture fitted to the input's size, its boxes and regions, and labels."""
        sample, data = self.pictures.split.samples[index], self.recipe.data
        # Crowd regions go through the same changes as boxes, marked by a label of their own.
        boxes = np.concatenate([sample.boxes, sample.crowd])
        labels = np.concatenate([sample.labels, np.full(len(sample.crowd), -1, np.int32)])
        if not data.augment.on_stored:
            image, placement = self.pictures[index]
            return image, placement.forward(boxes), labels
        return data.augment.arrange(
            self.pictures.stored(index),
            boxes,
            labels,
            rng,
            self.pictures.size,
            fit=data.fit,
            interpolation=data.interpolation,
            round_up=data.round_up,
        )


def _finished(draft: _Draft, filled: Sequence[Future[int]]) -> Batch:
    return Batch(*draft, tuple(future.result() for future in filled))
