"""One training picture: read, changed, matched, written to its place in a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasfpn_runtime.batches.buffers import Arrays
from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.batches.matching import Matcher
from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.pictures.augment import Part
from nasfpn_runtime.recipe.recipe import Recipe

REPLACEMENTS = 1000  # tries to find a picture that keeps a box (mmengine's max_refetch)


class Preparer:
    """Prepares pictures of a split by a recipe, each a function of (seed, epoch, picture).

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

    def fill(self, arrays: Arrays, place: int, index: int, epoch: int) -> int:
        """Write picture ``index``, or what replaces it, to a place of a batch; return its id.

        Raises:
            DataError: the picture cannot be read.
        """
        index, (image, boxes, labels) = self._varied(index, epoch)
        boxes, crowd = boxes / self.unit, labels < 0
        # Classes begin after the background's; what is no class is below 0.
        self.matcher(
            boxes[~crowd],
            labels[~crowd] + self.first_label,
            boxes[crowd],
            out=(arrays.labels[place], arrays.deltas[place]),
        )
        arrays.sizes[place] = height, width = image.shape[:2]
        planes = arrays.images[place]
        planes[:, height:], planes[:, :height, width:] = 0, 0
        for channel, plane in enumerate(planes):  # faster than all three at once
            plane[:height, :width] = image[:, :, channel]
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
