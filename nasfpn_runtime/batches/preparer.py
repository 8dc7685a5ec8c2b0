"""Preparation of one training image: read, augment, match, write to a slot of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasfpn_runtime.batches.buffers import Arrays
from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.batches.matching import Matcher
from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.data.entry import Id
from nasfpn_runtime.pictures.augment import Part
from nasfpn_runtime.recipe.recipe import Recipe

REPLACEMENTS = 1000  # attempts to find an image that keeps a box (mmengine's max_refetch)


class Preparer:
    """Prepare images of a split by a recipe; the result depends on (seed, epoch, image) only.

    Args:
        cache_bytes: see :class:`Pictures`.
    """

    def __init__(
        self, split: Split, recipe: Recipe, levels: Sequence[int], seed: int, cache_bytes: int
    ) -> None:
        self.pictures = Pictures(split, recipe.image_size(levels), recipe.data, cache_bytes)
        self.recipe, self.seed = recipe, seed
        normalised = recipe.matching.normalised
        anchors = recipe.anchor_boxes(levels, normalised=normalised)
        self.matcher = Matcher(anchors, recipe.matching, recipe.box_code)
        height, width = self.pictures.size if normalised else (1, 1)
        self.unit = np.array([width, height] * 2, dtype=np.float32)  # of anchors, in pixels
        self.first_label = int(recipe.model.resolved_dialect().background)
        self.indices = split.with_boxes

    def fill(self, arrays: Arrays, slot: int, index: int, epoch: int) -> Id:
        """Write an image to a slot of a batch and return its id.

        If the recipe replaces images that lose all boxes, it may be another image than ``index``,
        but not for an image that has none.

        Args:
            index: into the split's samples.

        Raises:
            DataError: the image cannot be read.
        """
        index, (image, boxes, labels) = self._augmented(index, epoch)
        boxes, crowd = boxes / self.unit, labels < 0
        # Object classes start after the background class, if any. Negative labels are not classes.
        self.matcher(
            boxes[~crowd],
            labels[~crowd] + self.first_label,
            boxes[crowd],
            out=(arrays.labels[slot], arrays.deltas[slot]),
        )
        arrays.sizes[slot] = height, width = image.shape[:2]
        planes = arrays.images[slot]
        planes[:, height:], planes[:, :height, width:] = 0, 0
        for channel, plane in enumerate(planes):  # faster than all three at once
            plane[:height, :width] = image[:, :, channel]
        return self.pictures.split.samples[index].image_id

    def _augmented(self, index: int, epoch: int) -> tuple[int, Part]:
        """Return which image was used, and it, augmented, at the input's size."""
        # Two generators, so that draws for stored images do not shift the draws for fitted ones.
        stored = np.random.default_rng((self.seed, epoch, index, 1))
        fitted = np.random.default_rng((self.seed, epoch, index))
        augment = self.recipe.data.augment
        replaces = augment.replaces and len(self.pictures.split.samples[index].boxes) > 0
        for _ in range(REPLACEMENTS if replaces else 1):
            part = self._fitted(index, stored)
            if (part[2] >= 0).any() or not replaces:
                break
            index = int(stored.choice(self.indices))
        return index, augment.apply(*part, fitted, self.pictures.size)

    def _fitted(self, index: int, rng: np.random.Generator) -> Part:
        """Return an image fitted to the input's size, its boxes and crowd regions, and labels."""
        sample, data = self.pictures.split.samples[index], self.recipe.data
        # Crowd regions are transformed together with the boxes; label -1 marks them.
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
