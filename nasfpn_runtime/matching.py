"""Which anchor is to find which box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.boxes import Boxes, area, encode, intersection

BACKGROUND, IGNORED = -1, -2


def match(
    anchors: Boxes,
    boxes: Boxes,
    labels: NDArray[np.int32],
    *,
    positive: float = 0.5,
    negative: float = 0.5,
    force: bool = True,
    crowd: Boxes | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return per anchor its class, (A,) int32, and its target offsets, (A, 4) float32.

    An anchor belongs to the box it overlaps most (the first of equals): positive if
    their IoU is at least ``positive``, :data:`BACKGROUND` if it is below ``negative``,
    :data:`IGNORED` between. Offsets are those of ``encode``; zeros unless positive.

    Args:
        anchors: (A, 4) xyxy px.
        boxes: (n, 4) xyxy px, each with a positive area.
        labels: (n,) classes from 0.
        force: every box also claims the anchor it overlaps most (the first of equals),
            whatever its IoU and whichever box that anchor overlaps more. Of two boxes
            that claim one anchor the higher IoU gets it, the first box on a tie, where
            tensorflow/tpu ``argmax_matcher.py`` always takes the first. A box that
            overlaps no anchor claims none, where TF gives it anchor 0.
        crowd: (m, 4) regions of uncounted objects: an anchor that is not positive and
            has half its area or more inside one of them is ignored.

    Raises:
        ValueError: ``negative`` is above ``positive``.
    """
    if negative > positive:
        raise ValueError(f"negative is at most positive ({positive}), got {negative}")
    best, owner, claims = _best_boxes(anchors, boxes)
    is_positive = best >= positive
    if force:
        for anchor, box in claims:
            owner[anchor], is_positive[anchor] = box, True
    found = np.full(len(anchors), BACKGROUND, dtype=np.int32)
    found[best >= negative] = IGNORED
    if crowd is not None and len(crowd):
        covered = intersection(anchors, crowd).max(axis=1)
        found[covered >= area(anchors) / 2] = IGNORED
    deltas = np.zeros((len(anchors), 4), dtype=np.float32)
    if len(boxes):
        matched = owner[is_positive]
        found[is_positive] = labels[matched]
        deltas[is_positive] = encode(boxes[matched], anchors[is_positive])
    return found, deltas


def _best_boxes(
    anchors: Boxes, boxes: Boxes
) -> tuple[NDArray[np.float32], NDArray[np.intp], list[tuple[int, int]]]:
    """Return per anchor its best IoU and box, and the (anchor, box) claims, weak ones first."""
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
        anchor = int(overlap.argmax())
        if overlap[anchor] > 0:
            claims.append((float(overlap[anchor]), -index, anchor))
    return best, owner, [(anchor, -box) for _, box, anchor in sorted(claims)]
