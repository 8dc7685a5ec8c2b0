"""Batches of a split, a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.config import Recipe
from nasfpn_runtime.data.coco import CocoSplit
from nasfpn_runtime.data.image import Pixels, Placement, fit, fit_size, normalise, place, read_image
from nasfpn_runtime.data.mindrecord import source
from nasfpn_runtime.data.samples import Sample
from nasfpn_runtime.matching import match
from nasfpn_runtime.sections import Data

CACHE_BYTES = 2 << 30  # fitted pictures kept in memory


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs of a training step.

    Attributes:
        images: (N, 3, H, W) float32.
        labels: (N, A) int32, class from 0, -1 background, -2 ignored.
        deltas: (N, A, 4) float32, zero unless positive.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int32]
    deltas: NDArray[np.float32]


class Pictures:
    """Fitted pictures of a split, kept in memory while they fit in ``CACHE_BYTES``."""

    def __init__(self, split: CocoSplit, size: tuple[int, int], data: Data) -> None:
        self.split, self.size, self.data = split, size, data
        self._cache: dict[int, tuple[Pixels, Placement]] = {}
        self._bytes = 0

    def __getitem__(self, index: int) -> tuple[Pixels, Placement]:
        """Return picture ``index`` as ``image.fit`` does.

        Raises:
            DataError: the picture cannot be read.
        """
        if index in self._cache:
            return self._cache[index]
        image = read_image(source(self.split.samples[index].path))
        pair = fit(image, self.size, self.data.fit, self.data.interpolation)
        if self._bytes + pair[0].nbytes <= CACHE_BYTES:
            self._cache[index] = pair
            self._bytes += pair[0].nbytes
        return pair

    def frame(self, index: int, coarsest_stride: int) -> tuple[int, int]:
        """Return the (height, width) that picture ``index`` is padded to for scoring."""
        if self.data.pad == "image":
            return self.size
        sample = self.split.samples[index]
        placement = place((sample.height, sample.width), self.size, self.data.fit)
        return fit_size((placement.height, placement.width), coarsest_stride)


class TrainLoader:
    """Augmented, matched training batches of the pictures that have boxes.

    Every epoch is a new permutation; a picture's augmentation depends on (seed, epoch,
    picture) only. The last, incomplete batch is dropped; a split smaller than a batch
    gives one batch that repeats pictures.
    """

    def __init__(self, split: CocoSplit, recipe: Recipe, levels: Sequence[int], seed: int) -> None:
        self.pictures = Pictures(split, recipe.image_size(levels), recipe.data)
        self.recipe, self.seed, self.batch = recipe, seed, recipe.training.batch
        normalised = recipe.matching.normalised
        self.anchors = recipe.anchor_boxes(levels, normalised=normalised)
        height, width = self.pictures.size if normalised else (1, 1)
        self.unit = np.array([width, height] * 2, dtype=np.float32)  # of anchors, in pixels
        self.first_label = int(recipe.model.resolved_semantics().background)
        self.indices = np.array([i for i, s in enumerate(split.samples) if len(s.boxes)])

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return max(1, len(self.indices) // self.batch)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 0."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.indices)
        for start in range(0, len(self) * self.batch, self.batch):
            yield self._batch(np.take(order, range(start, start + self.batch), mode="wrap"), epoch)

    def _batch(self, indices: NDArray[np.intp], epoch: int) -> Batch:
        parts = [self._sample(int(index), epoch) for index in indices]
        images, labels, deltas = (np.stack(part) for part in zip(*parts, strict=True))
        return Batch(images, labels, deltas)

    def _sample(
        self, index: int, epoch: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
        sample: Sample = self.pictures.split.samples[index]
        image, placement = self.pictures[index]
        rng = np.random.default_rng((self.seed, epoch, index))
        # Crowd regions go through the same changes as boxes, marked by a label of their own.
        boxes = placement.forward(np.concatenate([sample.boxes, sample.crowd]))
        labels = np.concatenate([sample.labels, np.full(len(sample.crowd), -1, np.int32)])
        image, boxes, labels = self.recipe.data.augment.apply(
            image, boxes, labels, rng, self.pictures.size
        )
        boxes, crowd = boxes / self.unit, labels < 0
        found, deltas = match(
            self.anchors,
            boxes[~crowd],
            labels[~crowd],
            self.recipe.matching,
            code=self.recipe.box_code,
            crowd=boxes[crowd],
        )
        found[found >= 0] += self.first_label
        return normalise(image, self.pictures.size), found, deltas
