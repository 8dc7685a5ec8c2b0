"""Which anchor is to find which box."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.pictures.boxes import TF_CODE, BoxCode, Boxes, area, encode, intersection
from nasfpn_runtime.recipe.settings import Matching

BACKGROUND, IGNORED = -1, -2

BLOCK = 64  # anchors bounded together; 128 are equally fast
# Bounds are above any overlap in spite of float32: its relative error is below 1e-6.
_ROUNDING = 1 + 1e-5


Targets = tuple[NDArray[np.int32], NDArray[np.float32]]


class _Claim(NamedTuple):
    overlap: float
    box: int
    anchor: int


# The claim with the greatest key gets the anchor.
_STRENGTH: dict[str, Callable[[_Claim], tuple[float, int]]] = {
    "higher": lambda claim: (claim.overlap, -claim.box),
    "first": lambda claim: (0, -claim.box),
    "last": lambda claim: (0, claim.box),
}


class Matcher:
    """Says which anchor is to find which box, for the anchors of one input size.

    Anchors are kept in blocks of ``BLOCK``, each with a rectangle around it and the least and
    greatest of its areas. They bound a box's overlap with any anchor of the block, so that
    most blocks need not be looked at; the outcome is that of looking at all of them.

    Args:
        anchors: (A, 4) xyxy, in pixels or in shares of the input's sides.
        rule: thresholds, and what decides between boxes.
        code: what the offsets of ``encode`` are in.
    """

    def __init__(self, anchors: Boxes, rule: Matching, code: BoxCode = TF_CODE) -> None:
        self.anchors, self.rule, self.code = anchors, rule, code
        areas = area(anchors)
        blocks = -(-len(anchors) // BLOCK)
        # (blocks, 5, BLOCK): x1, y1, x2, y2, area. What fills the last block overlaps nothing.
        table = np.full((blocks * BLOCK, 5), [-1, -1, -1, -1, 0], dtype=np.float32)
        table[: len(anchors)] = np.concatenate([anchors, areas[:, None]], axis=1)
        self._table = np.ascontiguousarray(table.reshape(blocks, BLOCK, 5).swapaxes(1, 2))
        wide = self._table.astype(np.float64)
        low, high = wide[:, :2].min(axis=2), wide[:, 2:4].max(axis=2)
        self._around = np.ascontiguousarray(np.concatenate([low, high], axis=1).T)
        self._least, self._most = wide[:, 4].min(axis=1), wide[:, 4].max(axis=1)
        self._half_areas = areas / 2
        self._least_threshold = min(rule.positive, rule.negative)

    def __call__(
        self,
        boxes: Boxes,
        labels: NDArray[np.int32],
        crowd: Boxes | None = None,
        out: Targets | None = None,
    ) -> Targets:
        """Return per anchor its class, (A,) int32, and its target offsets, (A, 4) float32.

        An anchor belongs to the box it overlaps most (the first of equals): positive if
        their IoU reaches ``rule.positive``, :data:`BACKGROUND` if it does not reach
        ``rule.negative``, :data:`IGNORED` between. Besides, every box claims the anchor it
        overlaps most (the first of equals, or all of them with ``rule.ties``), whatever its
        IoU and whichever box that anchor overlaps more; ``rule.contested`` says which box
        gets an anchor that several claim, and among equal IoUs it is the first. A box that
        overlaps no anchor claims none, where TF and the model zoo give it anchor 0 and
        mmdetection all. Offsets are those of ``encode``; zeros unless positive.

        Sources: tensorflow/tpu ``argmax_matcher.py`` (positive 0.5, first), mmdetection
        ``max_iou_assigner.py`` (ties, last), model zoo ``box_utils.py`` (strict, first).

        Args:
            boxes: (n, 4) xyxy in the anchors' unit, each with a positive area.
            labels: (n,) classes from 0.
            crowd: (m, 4) regions of uncounted objects: an anchor that is not positive and
                has half its area or more inside one of them is ignored.
            out: arrays to write to and return, instead of new ones.
        """
        count = len(self.anchors)
        found, deltas = out or (np.empty(count, np.int32), np.empty((count, 4), np.float32))
        found[:], deltas[:] = BACKGROUND, 0
        near, overlap, owner, claims = self._near(boxes)
        reaches = np.greater if self.rule.strict else np.greater_equal
        found[near[reaches(overlap, np.float32(self.rule.negative))]] = IGNORED
        if crowd is not None and len(crowd):
            covered = intersection(self.anchors, crowd).max(axis=1)
            found[covered >= self._half_areas] = IGNORED
        positive = reaches(overlap, np.float32(self.rule.positive))
        # The strongest claim is written last.
        claims.sort(key=_STRENGTH[self.rule.contested])
        anchors = np.append(near[positive], [claim.anchor for claim in claims]).astype(np.intp)
        matched = np.append(owner[positive], [claim.box for claim in claims]).astype(np.intp)
        found[anchors] = labels[matched]
        deltas[anchors] = encode(boxes[matched], self.anchors[anchors], self.code)
        return found, deltas

    def _near(
        self, boxes: Boxes
    ) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.intp], list[_Claim]]:
        """Return anchors, each with its best IoU and the box of that, (k,) all, and the claims.

        The anchors are those with an IoU that reaches a threshold. Claims are in the order of
        the boxes.
        """
        of, blocks, overlaps = self._looks(boxes)
        pair, place = np.nonzero(overlaps >= np.float32(self._least_threshold))
        anchors, overlap, owner = blocks[pair] * BLOCK + place, overlaps[pair, place], of[pair]
        # The last of an anchor has the highest IoU, and among equals the first box.
        order = np.lexsort((-owner, overlap, anchors))
        last = order[np.append(np.diff(anchors[order]), 1)[: len(order)] > 0]
        return anchors[last], overlap[last], owner[last], self._claims(of, blocks, overlaps)

    def _claims(
        self, of: NDArray[np.intp], blocks: NDArray[np.intp], overlaps: NDArray[np.float32]
    ) -> list[_Claim]:
        """Return what each box claims, from its overlaps with the blocks that matter to it."""
        claims = []
        for box in np.unique(of).tolist():
            start, stop = np.searchsorted(of, [box, box + 1])
            overlap = overlaps[start:stop].ravel()
            first = int(overlap.argmax())
            if (most := overlap[first]) > 0:
                ties = np.flatnonzero(overlap == most).tolist() if self.rule.ties else [first]
                claims += [
                    _Claim(float(most), box, int(blocks[start + i // BLOCK]) * BLOCK + i % BLOCK)
                    for i in ties
                ]
        return claims

    def _bounds(self, boxes: Boxes) -> NDArray[np.float64]:
        """Return (n, blocks): what no IoU of a box with an anchor of a block is above.

        Let an anchor have area a, least <= a <= most, the box b, and let them share s. Then
        s is at most a, b and what the box shares with the rectangle around the block; call
        the least of b, ``most`` and that S. The IoU s / (a + b - s) grows with s and falls
        with a: it is at most S / (b + max(least - S, 0)).
        """
        x1, y1, x2, y2 = self._around
        left, top, right, bottom = boxes.astype(np.float64).T[:, :, None]
        width = np.maximum(np.minimum(x2, right) - np.maximum(x1, left), 0)
        height = np.maximum(np.minimum(y2, bottom) - np.maximum(y1, top), 0)
        box = area(boxes).astype(np.float64)[:, None]
        shared = np.minimum(width * height, np.minimum(box, self._most))
        bound: NDArray[np.float64] = shared / (box + np.maximum(self._least - shared, 0))
        return bound * _ROUNDING

    def _looks(
        self, boxes: Boxes
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Return pairs of a box and a block that matters to it, and the IoUs, (p, BLOCK).

        A block matters where the box may reach a threshold or the greatest of its IoUs. Pairs
        are in the order of the boxes, then of the blocks.
        """
        bounds = self._bounds(boxes)
        least = np.minimum(self._least_threshold, bounds.max(axis=1, initial=0) / 2)
        of, blocks = np.nonzero((bounds >= least[:, None]) & (bounds > 0))
        overlaps = self._overlaps(boxes, of, blocks)
        most = np.zeros(len(boxes))
        np.maximum.at(most, of, overlaps.max(axis=1, initial=0))
        if (again := most < least).any():  # its best anchor may be in a block not looked at
            least = np.where(again, most, least)
            of, blocks = np.nonzero((bounds >= least[:, None]) & (bounds > 0))
            overlaps = self._overlaps(boxes, of, blocks)
        return of, blocks, overlaps

    def _overlaps(
        self, boxes: Boxes, of: NDArray[np.intp], blocks: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """Return the IoUs of pairs of a box and a block, (p, BLOCK)."""
        x1, y1, x2, y2, areas = self._table[blocks].swapaxes(0, 1)
        left, top, right, bottom = boxes[of].T[:, :, None]
        zero = np.float32(0)
        shared = np.maximum(np.minimum(y2, bottom) - np.maximum(y1, top), zero)
        shared *= np.maximum(np.minimum(x2, right) - np.maximum(x1, left), zero)
        overlaps: NDArray[np.float32] = shared / (areas + area(boxes)[of, None] - shared)
        return overlaps


def match(
    anchors: Boxes,
    boxes: Boxes,
    labels: NDArray[np.int32],
    rule: Matching,
    *,
    code: BoxCode = TF_CODE,
    crowd: Boxes | None = None,
) -> Targets:
    """Return what a :class:`Matcher` of these anchors does."""
    return Matcher(anchors, rule, code)(boxes, labels, crowd)
