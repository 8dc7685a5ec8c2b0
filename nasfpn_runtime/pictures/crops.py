"""Crops of the published implementations, made in the stored image before it is scaled.

Images and boxes are as in ``augment``. A negative label marks a crowd region: it is moved along
with the boxes but does not influence where to crop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.pictures.boxes import Boxes, clip_boxes, iou
from nasfpn_runtime.pictures.image import Pixels, place, resize

Labels = NDArray[np.int32]

# Model zoo src/dataset.py, random_sample_crop.
MIN_IOUS = (None, 0.1, 0.3, 0.5, 0.7, 0.9)
TRIES = 50
LEAST_SIDE = 0.3  # fraction of the image's side
ASPECTS = (0.5, 2.0)  # height over width
SLACK = 0.2


@dataclass(frozen=True)
class JitterRule:
    """What implementations do differently in random scaling.

    Attributes:
        frame: rounds the side of the input times the scaling factor to whole px.
        offset: returns the first row or column of the crop, from a random number from 0 to below
            1 and the number of px that do not fit.
        replace: an image that lost all its boxes is replaced by another one.
    """

    frame: Callable[[float], int]
    offset: Callable[[float, int], int]
    replace: bool


# tensorflow/tpu input_utils.py, resize_and_crop_image; mmcv transforms/processing.py,
# RandomResize, with mmdetection transforms.py, RandomCrop, and mmengine's _rand_another.
JITTERS = {
    "tf": JitterRule(round, lambda fraction, spare: int(fraction * spare), replace=False),
    "mmdet": JitterRule(int, lambda fraction, spare: int(fraction * (spare + 1)), replace=True),
}


def jitter_stored(
    image: Pixels,
    boxes: Boxes,
    labels: Labels,
    size: tuple[int, int],
    factor: float,
    offset: tuple[float, float],
    *,
    rule: JitterRule,
    fit: str,
    interpolation: str,
    round_up: bool,
) -> tuple[Pixels, Boxes, Labels]:
    """Return a stored image fitted to ``factor`` times ``size`` and cropped to ``size``.

    Boxes are clipped to the crop; boxes that have no area there are dropped.

    Args:
        size: (height, width) of the input.
        offset: (y, x) numbers from 0 to below 1 that decide where the crop is.
        fit, interpolation, round_up: see ``image.fit``.
    """
    frame = (rule.frame(size[0] * factor), rule.frame(size[1] * factor))
    stored = (image.shape[0], image.shape[1])
    placement = place(stored, (max(1, frame[0]), max(1, frame[1])), fit, round_up=round_up)
    scaled = resize(image, (placement.height, placement.width), interpolation)
    top, left = (
        rule.offset(fraction, max(0, side - most))
        for fraction, side, most in zip(offset, scaled.shape, size, strict=False)
    )
    crop = scaled[top : top + size[0], left : left + size[1]]
    moved = cropped(placement.forward(boxes), top, left, crop)
    kept = (moved[:, 2:] > moved[:, :2]).all(axis=1)
    return crop, moved[kept], labels[kept]


def iou_crop(
    image: Pixels, boxes: Boxes, labels: Labels, rng: np.random.Generator
) -> tuple[Pixels, Boxes, Labels]:
    """Return a random crop of a stored image that contains boxes, or the whole image.

    First a minimum IoU is drawn from ``MIN_IOUS``; with None, one time in six, the image stays as
    it is. Otherwise ``TRIES`` random rectangles are drawn, and the first is taken that

    - has an aspect within ``ASPECTS``,
    - has the centre of a box inside, and
    - does not have both a box with an IoU, above 0, below the minimum and a box with an IoU above
      the minimum plus ``SLACK``.

    If there is none, the image stays as it is. Boxes whose centre is outside are dropped, the
    others clipped. Crowd regions are clipped, and dropped if nothing is left.

    Args:
        rng: draws the same number of values at every call.

    Source: model zoo ``src/dataset.py``, ``random_sample_crop``. There, too, a rectangle is
    rejected only if it breaks the lower and the upper bound.
    """
    least = MIN_IOUS[int(rng.integers(len(MIN_IOUS)))]
    draws = rng.random((TRIES, 4))
    if least is None:
        return image, boxes, labels
    crops = _rectangles(draws, image.shape[0], image.shape[1])
    inside = _centres_inside(crops, boxes) & (labels >= 0)
    choice = np.flatnonzero(_admissible(crops, boxes[labels >= 0], least) & inside.any(axis=1))
    if not len(choice):
        return image, boxes, labels
    left, top, right, bottom = crops[choice[0]].astype(int).tolist()
    crop = image[top:bottom, left:right]
    moved = cropped(boxes, top, left, crop)
    kept = inside[choice[0]] | ((labels < 0) & (moved[:, 2:] > moved[:, :2]).all(axis=1))
    return crop, moved[kept], labels[kept]


def _rectangles(draws: NDArray[np.float64], height: int, width: int) -> Boxes:
    """Return the rectangles with an allowed aspect, xyxy whole px, float32, from (tries, 4)."""
    span = LEAST_SIDE + (1 - LEAST_SIDE) * draws[:, :2]
    sides = span * [width, height]
    aspect = sides[:, 1] / sides[:, 0]
    allowed = (aspect >= ASPECTS[0]) & (aspect <= ASPECTS[1])
    corner = draws[:, 2:] * ([width, height] - sides)
    crops = np.concatenate([corner, corner + sides], axis=1)[allowed]
    whole: Boxes = np.floor(crops).astype(np.float32)
    return whole


def _centres_inside(crops: Boxes, boxes: Boxes) -> NDArray[np.bool_]:
    """Return (crops, boxes): whether the centre of the box is strictly inside the crop."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside: NDArray[np.bool_] = (
        (crops[:, None, :2] < centres) & (centres < crops[:, None, 2:])
    ).all(axis=2)
    return inside


def _admissible(crops: Boxes, boxes: Boxes, least: float) -> NDArray[np.bool_]:
    """Return (crops,): whether the IoUs of a crop with the boxes are allowed, see `iou_crop`."""
    overlap = iou(crops, boxes)
    touched = overlap > 0
    smallest = np.where(touched, overlap, 2).min(axis=1, initial=2)
    refused = (smallest < least) & (overlap.max(axis=1, initial=0) > least + SLACK)
    passes: NDArray[np.bool_] = touched.any(axis=1) & ~refused
    return passes


def cropped(boxes: Boxes, top: int, left: int, crop: Pixels) -> Boxes:
    """Return boxes in the frame of a crop that starts at (top, left), clipped to it."""
    moved = boxes - np.array([left, top, left, top], dtype=np.float32)
    return clip_boxes(moved, (crop.shape[0], crop.shape[1]))
