"""Assignment of boxes to anchors: the targets of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.pictures.boxes import TF_CODE, BoxCode, Boxes, area, encode, intersection
from nasfpn_runtime.recipe.settings import Matching

BACKGROUND, IGNORED = -1, -2

BLOCK = 64  # anchors that are bounded together; 128 is as fast
# Makes a bound exceed every IoU in spite of float32, whose relative error here is below 1e-6.
_ROUNDING = 1 + 1e-5


Targets = tuple[NDArray[np.int32], NDArray[np.float32]]


class _Claim(NamedTuple):
    overlap: float
    box: int
    anchor: int


# The claim with the greatest key gets the anchor.
_CLAIM_KEYS: dict[str, Callable[[_Claim], tuple[float, int]]] = {
    "higher": lambda claim: (claim.overlap, -claim.box),
    "first": lambda claim: (0, -claim.box),
    "last": lambda claim: (0, claim.box),
}


class _Pairs(NamedTuple):
    """Pairs of a box and a block of anchors, in the order of the boxes, then of the blocks.

    Attributes:
        boxes, blocks: (p,) indices.
        overlaps: (p, BLOCK) IoUs of the box with each anchor of the block.
    """

    boxes: NDArray[np.intp]
    blocks: NDArray[np.intp]
    overlaps: NDArray[np.float32]


class _BestBoxes(NamedTuple):
    """Anchors whose best IoU reaches a threshold.

    Attributes:
        anchors, boxes: (k,) indices of the anchor and of the box it overlaps most.
        overlaps: (k,) the IoU of the two.
    """

    anchors: NDArray[np.intp]
    boxes: NDArray[np.intp]
    overlaps: NDArray[np.float32]


class Matcher:
    """Assign boxes to the anchors of one input size.

    Anchors are kept in blocks of ``BLOCK``. Each block has an enclosing rectangle and the
    smallest and largest area of its anchors. These bound the IoU of a box with any anchor of the
    block, so that most blocks can be skipped. The result is the same as without skipping.

    Args:
        anchors: (A, 4) xyxy, in pixels or in fractions of the input's sides.
        rule: thresholds, and how conflicts between boxes are resolved.
        code: box code of the target offsets, see ``encode``.
    """

    def __init__(self, anchors: Boxes, rule: Matching, code: BoxCode = TF_CODE) -> None:
        self.anchors, self.rule, self.code = anchors, rule, code
        areas = area(anchors)
        blocks = -(-len(anchors) // BLOCK)
        # (blocks, 5, BLOCK): x1, y1, x2, y2, area. The padding of the last block overlaps nothing.
        table = np.full((blocks * BLOCK, 5), [-1, -1, -1, -1, 0], dtype=np.float32)
        table[: len(anchors)] = np.concatenate([anchors, areas[:, None]], axis=1)
        self._table = np.ascontiguousarray(table.reshape(blocks, BLOCK, 5).swapaxes(1, 2))
        wide = self._table.astype(np.float64)
        low, high = wide[:, :2].min(axis=2), wide[:, 2:4].max(axis=2)
        self._enclosing = np.ascontiguousarray(np.concatenate([low, high], axis=1).T)
        self._min_areas, self._max_areas = wide[:, 4].min(axis=1), wide[:, 4].max(axis=1)
        self._half_areas = areas / 2
        self._min_threshold = min(rule.positive, rule.negative)

    def __call__(
        self,
        boxes: Boxes,
        labels: NDArray[np.int32],
        crowd: Boxes | None = None,
        out: Targets | None = None,
    ) -> Targets:
        """Return the class, (A,) int32, and target offsets, (A, 4) float32, of each anchor.

        An anchor is assigned to the box it overlaps most (the first of equals). It is positive if
        that IoU reaches ``rule.positive``, ignored if it reaches ``rule.negative``, and otherwise
        background; with ``rule.strict`` an IoU has to exceed a threshold to reach it. In
        addition, each box claims the anchor it overlaps most (the first of equals, or all of them
        with ``rule.ties``), whatever the IoU is and even if that anchor overlaps another box
        more. ``rule.contested`` decides which box gets an anchor claimed by several; among equal
        IoUs it is the first box. A box that overlaps no anchor claims none, where TF and the
        model zoo give it anchor 0 and mmdetection all anchors. Offsets are those of ``encode``,
        and zero unless the anchor is positive.

        Sources: tensorflow/tpu ``argmax_matcher.py`` (positive 0.5, first), mmdetection
        ``max_iou_assigner.py`` (ties, last), model zoo ``box_utils.py`` (strict, first).

        Args:
            boxes: (n, 4) xyxy in the anchors' unit, each with a positive area.
            labels: (n,) classes from 0.
            crowd: (m, 4) regions of objects that are not annotated one by one. An anchor that is
                not positive and has half its area or more inside one of them is ignored.
            out: arrays to write to and return, instead of new ones.
        """
        count = len(self.anchors)
        classes, deltas = out or (np.empty(count, np.int32), np.empty((count, 4), np.float32))
        classes[:], deltas[:] = BACKGROUND, 0
        pairs = self._relevant_pairs(boxes)
        best, claims = self._best_boxes(pairs), self._claims(pairs)
        reaches = np.greater if self.rule.strict else np.greater_equal
        classes[best.anchors[reaches(best.overlaps, np.float32(self.rule.negative))]] = IGNORED
        if crowd is not None and len(crowd):
            covered = intersection(self.anchors, crowd).max(axis=1)
            classes[covered >= self._half_areas] = IGNORED
        positive = reaches(best.overlaps, np.float32(self.rule.positive))
        # Claims come last and the strongest one last of all, because later entries overwrite.
        claims.sort(key=_CLAIM_KEYS[self.rule.contested])
        anchors = np.append(best.anchors[positive], [claim.anchor for claim in claims])
        matched = np.append(best.boxes[positive], [claim.box for claim in claims])
        anchors, matched = anchors.astype(np.intp), matched.astype(np.intp)
        classes[anchors] = labels[matched]
        deltas[anchors] = encode(boxes[matched], self.anchors[anchors], self.code)
        return classes, deltas

    def _best_boxes(self, pairs: _Pairs) -> _BestBoxes:
        """Return the anchors whose best IoU reaches the lower threshold, with their best boxes."""
        pair, offset = np.nonzero(pairs.overlaps >= np.float32(self._min_threshold))
        anchors = pairs.blocks[pair] * BLOCK + offset
        boxes, overlaps = pairs.boxes[pair], pairs.overlaps[pair, offset]
        # The last entry of an anchor has the highest IoU, and among equal IoUs the first box.
        order = np.lexsort((-boxes, overlaps, anchors))
        last = order[np.append(np.diff(anchors[order]), 1)[: len(order)] > 0]
        return _BestBoxes(anchors[last], boxes[last], overlaps[last])

    def _claims(self, pairs: _Pairs) -> list[_Claim]:
        """Return the claims of all boxes, in the order of the boxes."""
        claims = []
        for box in np.unique(pairs.boxes).tolist():
            start, stop = np.searchsorted(pairs.boxes, [box, box + 1])
            overlaps = pairs.overlaps[start:stop].ravel()
            first = int(overlaps.argmax())
            if (most := overlaps[first]) > 0:
                ties = np.flatnonzero(overlaps == most).tolist() if self.rule.ties else [first]
                for i in ties:
                    anchor = int(pairs.blocks[start + i // BLOCK]) * BLOCK + i % BLOCK
                    claims.append(_Claim(float(most), box, anchor))
        return claims

    def _bounds(self, boxes: Boxes) -> NDArray[np.float64]:
        """Return (n, blocks) upper bounds of a box's IoU with any anchor of a block.

        Let b be the area of the box, a the area of an anchor, with min <= a <= max over the
        block, and s the area of their intersection. Then s is at most a, at most b, and at most
        the intersection of the box with the rectangle that encloses the block. Call the least of
        b, max and that intersection S. The IoU s / (a + b - s) grows with s and falls with a, so
        it is at most S / (b + max(min - S, 0)).
        """
        x1, y1, x2, y2 = self._enclosing
        left, top, right, bottom = boxes.astype(np.float64).T[:, :, None]
        width = np.maximum(np.minimum(x2, right) - np.maximum(x1, left), 0)
        height = np.maximum(np.minimum(y2, bottom) - np.maximum(y1, top), 0)
        box = area(boxes).astype(np.float64)[:, None]
        shared = np.minimum(width * height, np.minimum(box, self._max_areas))
        bound: NDArray[np.float64] = shared / (box + np.maximum(self._min_areas - shared, 0))
        return bound * _ROUNDING

    def _relevant_pairs(self, boxes: Boxes) -> _Pairs:
        """Return the pairs in which the box may reach a threshold or its greatest IoU."""
        bounds = self._bounds(boxes)
        least = np.minimum(self._min_threshold, bounds.max(axis=1, initial=0) / 2)
        pairs = self._pairs(boxes, bounds, least)
        most = np.zeros(len(boxes))
        np.maximum.at(most, pairs.boxes, pairs.overlaps.max(axis=1, initial=0))
        if (missed := most < least).any():  # the best anchor may be in a block that was skipped
            pairs = self._pairs(boxes, bounds, np.where(missed, most, least))
        return pairs

    def _pairs(
        self, boxes: Boxes, bounds: NDArray[np.float64], least: NDArray[np.float64]
    ) -> _Pairs:
        """Return the pairs whose bound is above 0 and at least the box's entry in ``least``."""
        owners, blocks = np.nonzero((bounds >= least[:, None]) & (bounds > 0))
        x1, y1, x2, y2, areas = self._table[blocks].swapaxes(0, 1)
        left, top, right, bottom = boxes[owners].T[:, :, None]
        zero = np.float32(0)
        shared = np.maximum(np.minimum(y2, bottom) - np.maximum(y1, top), zero)
        shared *= np.maximum(np.minimum(x2, right) - np.maximum(x1, left), zero)
        return _Pairs(owners, blocks, shared / (areas + area(boxes)[owners, None] - shared))


def match(
    anchors: Boxes,
    boxes: Boxes,
    labels: NDArray[np.int32],
    rule: Matching,
    *,
    code: BoxCode = TF_CODE,
    crowd: Boxes | None = None,
) -> Targets:
    """Match once, with a new :class:`Matcher` of these anchors; see its ``__call__``."""
    return Matcher(anchors, rule, code)(boxes, labels, crowd)
