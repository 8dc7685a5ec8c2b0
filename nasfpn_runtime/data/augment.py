"""Random changes to a picture and its boxes.

A picture is (h, w, 3) uint8 without padding, at the top left of the frame that it is
trained in; boxes are (n, 4) float32 xyxy px of that frame. Inputs are never written to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.boxes import Boxes, clip_boxes
from nasfpn_runtime.data.image import Pixels, resize
from nasfpn_runtime.errors import RecipeError

Labels = NDArray[np.int32]

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # luma, ITU-R BT.601


@dataclass(frozen=True)
class Augment:
    """Which random changes are made to a training picture; the default is none.

    Attributes:
        hflip, vflip: probabilities of a flip.
        scale: lowest and highest factor of :func:`scale_jitter`, or None.
        colour: strength of :func:`colour_jitter`, 0 to 1.

    Raises:
        RecipeError: a value is out of range.
    """

    hflip: float = 0.0
    vflip: float = 0.0
    scale: tuple[float, float] | None = None
    colour: float = 0.0

    def __post_init__(self) -> None:
        for name in ("hflip", "vflip", "colour"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"{name} is from 0 to 1, got {getattr(self, name)!r}")
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1]:
            raise RecipeError(f"scale is two factors above 0, low and high, got {self.scale!r}")

    def apply(
        self,
        image: Pixels,
        boxes: Boxes,
        labels: Labels,
        rng: np.random.Generator,
        size: tuple[int, int],
    ) -> tuple[Pixels, Boxes, Labels]:
        """Return the changed picture, at most as large as ``size``, its boxes and labels.

        Args:
            image: a picture that ``fit`` scaled to ``size`` (height, width).
            rng: draws the same number of values at every call, so that what one change
                draws does not depend on the others' settings.
        """
        flip_x, flip_y = rng.random(2)
        zoom = rng.random(3)
        tint = rng.uniform(-1, 1, 3)
        if flip_x < self.hflip:
            image, boxes = horizontal_flip(image, boxes)
        if flip_y < self.vflip:
            image, boxes = vertical_flip(image, boxes)
        if self.scale is not None:
            low, high = self.scale
            factor = low + (high - low) * zoom[0]
            image, boxes, labels = scale_jitter(
                image, boxes, labels, size, factor, (zoom[1], zoom[2])
            )
        if self.colour:
            brightness, contrast, saturation = 1 + self.colour * tint
            image = colour_jitter(image, brightness, contrast, saturation)
        return image, boxes, labels


def horizontal_flip(image: Pixels, boxes: Boxes) -> tuple[Pixels, Boxes]:
    """Return picture and boxes mirrored left to right."""
    width = np.float32(image.shape[1])
    x1, y1, x2, y2 = boxes.T
    return image[:, ::-1], np.stack([width - x2, y1, width - x1, y2], axis=1)


def vertical_flip(image: Pixels, boxes: Boxes) -> tuple[Pixels, Boxes]:
    """Return picture and boxes mirrored top to bottom."""
    height = np.float32(image.shape[0])
    x1, y1, x2, y2 = boxes.T
    return image[::-1], np.stack([x1, height - y2, x2, height - y1], axis=1)


def scale_jitter(
    image: Pixels,
    boxes: Boxes,
    labels: Labels,
    size: tuple[int, int],
    factor: float,
    offset: tuple[float, float],
) -> tuple[Pixels, Boxes, Labels]:
    """Return the picture scaled by ``factor`` and cropped to ``size`` where it is larger.

    Boxes are clipped to the crop. Those less than a pixel wide or high there are
    dropped (tensorflow/tpu keeps any positive area; the size of a sliver says nothing).

    Args:
        size: (height, width) of the frame.
        offset: where the crop lies, as shares 0..1 of what does not fit, (y, x).
    """
    height, width = image.shape[:2]
    scaled = resize(image, (max(1, round(height * factor)), max(1, round(width * factor))))
    top, left = (
        int(share * (max(0, side - frame) + 1 - 1e-9))
        for share, side, frame in zip(offset, scaled.shape, size, strict=False)
    )
    crop = scaled[top : top + size[0], left : left + size[1]]
    gain = np.array([scaled.shape[1] / width, scaled.shape[0] / height] * 2, dtype=np.float32)
    moved = boxes * gain - np.array([left, top] * 2, dtype=np.float32)
    moved = clip_boxes(moved, (crop.shape[0], crop.shape[1]))
    kept = (moved[:, 2:] - moved[:, :2] >= 1).all(axis=1)
    return crop, moved[kept], labels[kept]


def colour_jitter(image: Pixels, brightness: float, contrast: float, saturation: float) -> Pixels:
    """Return the picture with three factors applied; 1 leaves it as it is.

    In this order: all values times ``brightness``; the distance from the picture's mean
    grey times ``contrast``; each pixel's distance from its own grey times
    ``saturation``. Values are clipped once, at the end.
    """
    # The three steps are linear in the pixel: one matrix and one offset.
    mixing = saturation * np.eye(3) + (1 - saturation) * np.outer(_GREY, np.ones(3))
    matrix = (brightness * contrast * mixing).astype(np.float32)
    pixels = image.reshape(-1, 3).astype(np.float32)
    mean_grey = np.ones(len(pixels), dtype=np.float32) @ pixels @ _GREY / len(pixels)
    offset = (1 - contrast) * brightness * mean_grey
    changed = pixels @ matrix
    changed += np.float32(offset + 0.5)  # so that the cast, which rounds down, rounds
    np.clip(changed, 0, 255, out=changed)
    return changed.astype(np.uint8).reshape(image.shape)
