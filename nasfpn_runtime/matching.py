"""Which anchor is to find which box."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.boxes import TF_CODE, BoxCode, Boxes, area, encode, intersection
from nasfpn_runtime.sections import Matching

BACKGROUND, IGNORED = -1, -2


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


def match(
    anchors: Boxes,
    boxes: Boxes,
    labels: NDArray[np.int32],
    rule: Matching,
    *,
    code: BoxCode = TF_CODE,
    crowd: Boxes | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return per anchor its class, (A,) int32, and its target offsets, (A, 4) float32.

    An anchor belongs to the box it overlaps most (the first of equals): positive if
    their IoU reaches ``rule.positive``, :data:`BACKGROUND` if it does not reach
    ``rule.negative``, :data:`IGNORED` between. Besides, every box claims the anchor it
    overlaps most (the first of equals, or all of them with ``rule.ties``), whatever its IoU
    and whichever box that anchor overlaps more; ``rule.contested`` says which box gets an
    anchor that several claim, and among equal IoUs it is the first. A box that overlaps no
    anchor claims none, where TF and the model zoo give it anchor 0 and mmdetection all.
    Offsets are those of ``encode``; zeros unless positive.

    Sources: tensorflow/tpu ``argmax_matcher.py`` (positive 0.5, first), mmdetection
    ``max_iou_assigner.py`` (ties, last), model zoo ``box_utils.py`` (strict, first).

    Args:
        anchors: (A, 4) xyxy, in pixels or in shares of the input's sides.
        boxes: (n, 4) xyxy, likewise, each with a positive area.
        labels: (n,) classes from 0.
        crowd: (m, 4) regions of uncounted objects: an anchor that is not positive and
            has half its area or more inside one of them is ignored.
    """
    best, owner, claims = _best_boxes(anchors, boxes, rule.ties)
    reaches = np.greater if rule.strict else np.greater_equal
    is_positive = reaches(best, np.float32(rule.positive))
    for claim in sorted(claims, key=_STRENGTH[rule.contested]):
        owner[claim.anchor], is_positive[claim.anchor] = claim.box, True
    found = np.full(len(anchors), BACKGROUND, dtype=np.int32)
    found[reaches(best, np.float32(rule.negative))] = IGNORED
    if crowd is not None and len(crowd):
        covered = intersection(anchors, crowd).max(axis=1)
        found[covered >= area(anchors) / 2] = IGNORED
    deltas = np.zeros((len(anchors), 4), dtype=np.float32)
    if len(boxes):
        matched = owner[is_positive]
        found[is_positive] = labels[matched]
        deltas[is_positive] = encode(boxes[matched], anchors[is_positive], code)
    return found, deltas


def _best_boxes(
    anchors: Boxes, boxes: Boxes, ties: bool
) -> tuple[NDArray[np.float32], NDArray[np.intp], list[_Claim]]:
    """Return per anchor its best IoU and box, and the claims in the order of the boxes."""
    x1, y1, x2, y2 = np.ascontiguousarray(anchors.T)
    anchor_area, box_area = area(anchors), area(boxes)
    zero = np.float32(0)
    best = np.zeros(len(anchors), dtype=np.float32)
    owner = np.zeros(len(anchors), dtype=np.intp)
    claims = []
    # One box at a time: rows of A float32 stay in the cache, where an A x n table does not.
    for index, box in enumerate(boxes):
        width = np.maximum(np.minimum(x2, box[2]) - np.maximum(x1, box[0]), zero)
        shared = np.maximum(np.minimum(y2, box[3]) - np.maximum(y1, box[1]), zero)
        shared *= width
        overlap = shared / (anchor_area + box_area[index] - shared)
        owner[overlap > best] = index
        np.maximum(best, overlap, out=best)
        first = int(overlap.argmax())
        most = float(overlap[first])
        if most > 0:
            claimed = np.flatnonzero(overlap == overlap[first]).tolist() if ties else [first]
            claims += [_Claim(most, index, anchor) for anchor in claimed]
    return best, owner, claims
