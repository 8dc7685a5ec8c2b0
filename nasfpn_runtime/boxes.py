"""Arithmetic of boxes: overlap, and the code in which a detector predicts them.

A box is (x1, y1, x2, y2) in pixels, float32; its width is ``x2 - x1``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]

# A 16 px anchor may grow to 1000 px (tensorflow/tpu box_utils.py, BBOX_XFORM_CLIP).
MAX_LOG_SCALE = math.log(1000.0 / 16.0)


def area(boxes: Boxes) -> NDArray[np.float32]:
    """Return (n,) areas in square pixels."""
    sides: Boxes = boxes[:, 2:] - boxes[:, :2]
    return sides[:, 0] * sides[:, 1]


def intersection(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Return (n, m) areas in square pixels that boxes of ``a`` and ``b`` share."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides: Boxes = np.maximum(high - low, np.float32(0))
    return sides[..., 0] * sides[..., 1]


def iou(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Return (n, m) intersection over union, 0 to 1; 0 where both boxes have no area."""
    shared = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def encode(boxes: Boxes, anchors: Boxes) -> NDArray[np.float32]:
    """Return (n, 4) offsets (ty, tx, th, tw) that :func:`decode` turns into the boxes.

    Offsets of centres in anchor sides and logarithms of the ratio of sides, without
    variances (Faster R-CNN, section 3.1.2; order of tensorflow/tpu). Box i belongs to
    anchor i; all sides are positive.
    """
    size, anchor_size = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2
    offset, stretch = shift / anchor_size, np.log(size / anchor_size)
    return np.concatenate([offset[:, ::-1], stretch[:, ::-1]], axis=1)


def decode(deltas: NDArray[np.float32], anchors: Boxes, clip: float = MAX_LOG_SCALE) -> Boxes:
    """Return (n, 4) boxes from offsets (ty, tx, th, tw) of :func:`encode`.

    Args:
        clip: upper bound of th and tw, so that an untrained net does not overflow.
    """
    anchor_size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, 1::-1] * anchor_size
    half = np.exp(np.minimum(deltas[:, :1:-1], np.float32(clip))) * anchor_size / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def clip_boxes(boxes: Boxes, image: tuple[int, int]) -> Boxes:
    """Return the parts of the boxes inside an image of (height, width)."""
    height, width = image
    limit = np.array([width, height, width, height], dtype=np.float32)
    clipped: Boxes = np.clip(boxes, np.float32(0), limit)
    return clipped
