"""Box arithmetic: overlaps, and the code in which a detector predicts boxes.

A box is (x1, y1, x2, y2) in pixels, float32; its width is ``x2 - x1``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.errors import RecipeError

Boxes = NDArray[np.float32]

# A 16 px anchor may grow to 1000 px (tensorflow/tpu box_utils.py, BBOX_XFORM_CLIP;
# mmdetection delta_xywh_bbox_coder.py, wh_ratio_clip).
MAX_LOG_SCALE = math.log(1000.0 / 16.0)

# Bounds of the logarithm of the ratio of sides in decoding.
CLIPS = {
    "growth": (-math.inf, MAX_LOG_SCALE),
    "both": (-MAX_LOG_SCALE, MAX_LOG_SCALE),
    "none": (-math.inf, math.inf),
}

# Indices of (y, x, h, w) in each order.
ORDERS = {"yxhw": [0, 1, 2, 3], "xywh": [1, 0, 3, 2]}


@dataclass(frozen=True)
class BoxCode:
    """How four numbers describe a box relative to its anchor (see :func:`encode`).

    Attributes:
        order: order of the four numbers: ``yxhw`` (tensorflow/tpu ``faster_rcnn_box_coder.py``,
            model zoo ``box_utils.py``) or ``xywh`` (mmdetection ``delta_xywh_bbox_coder.py``).
        variances: divisors of the centre's offsets, and of the logarithms of the sides.
        clip: what decoding limits to a factor of 1000 / 16: how much a box may grow
            (``growth``, TF), how much it may grow or shrink (``both``, mmdetection), or nothing
            (``none``, model zoo).

    Raises:
        RecipeError: a value is out of range.
    """

    order: str = "yxhw"
    variances: tuple[float, float] = (1.0, 1.0)
    clip: str = "growth"

    def __post_init__(self) -> None:
        for name, choices in (("order", ORDERS), ("clip", CLIPS)):
            if getattr(self, name) not in choices:
                raise RecipeError(
                    f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}"
                )
        if len(self.variances) != 2 or not 0 < min(self.variances) <= max(self.variances) <= 1e6:
            raise RecipeError(
                f"variances must be two numbers above 0, at most 1,000,000, got {self.variances!r}"
            )


TF_CODE = BoxCode()


def area(boxes: Boxes) -> NDArray[np.float32]:
    """Return (n,) areas in square pixels."""
    sides: Boxes = boxes[:, 2:] - boxes[:, :2]
    return sides[:, 0] * sides[:, 1]


def intersection(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Return (n, m) areas, in square pixels, of the overlap of boxes of ``a`` and ``b``."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides: Boxes = np.maximum(high - low, np.float32(0))
    return sides[..., 0] * sides[..., 1]


def iou(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Return (n, m) intersection over union, 0 to 1; 0 if neither box has an area."""
    shared = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def encode(boxes: Boxes, anchors: Boxes, code: BoxCode = TF_CODE) -> NDArray[np.float32]:
    """Return (n, 4) offsets that :func:`decode` turns into the boxes.

    They are the centre's offsets in units of the anchor's sides, and the logarithms of the ratio
    of sides (Faster R-CNN, section 3.1.2), in the order and units of ``code``. Box i belongs to
    anchor i; all sides are positive.
    """
    size, anchor_size = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2
    offset = shift / anchor_size / np.float32(code.variances[0])
    stretch = np.log(size / anchor_size) / np.float32(code.variances[1])
    yxhw: NDArray[np.float32] = np.concatenate([offset[:, ::-1], stretch[:, ::-1]], axis=1)
    return yxhw[:, ORDERS[code.order]]


def decode(deltas: NDArray[np.float32], anchors: Boxes, code: BoxCode = TF_CODE) -> Boxes:
    """Return (n, 4) boxes from the offsets of :func:`encode`, limited as ``code.clip`` says."""
    yxhw = deltas[:, ORDERS[code.order]]
    anchor_size = anchors[:, 2:] - anchors[:, :2]
    offset = yxhw[:, 1::-1] * np.float32(code.variances[0])
    stretch = yxhw[:, :1:-1] * np.float32(code.variances[1])
    low, high = (np.float32(bound) for bound in CLIPS[code.clip])
    with np.errstate(over="ignore", invalid="ignore"):  # infinite boxes of an untrained network
        centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + offset * anchor_size
        half = np.exp(np.clip(stretch, low, high)) * anchor_size / 2
        return np.concatenate([centre - half, centre + half], axis=1)


def clip_boxes(boxes: Boxes, image: tuple[int, int]) -> Boxes:
    """Return the parts of the boxes inside an image of (height, width)."""
    height, width = image
    limit = np.array([width, height, width, height], dtype=np.float32)
    clipped: Boxes = np.clip(boxes, np.float32(0), limit)
    return clipped
