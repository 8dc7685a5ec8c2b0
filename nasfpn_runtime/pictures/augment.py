"""Augmentation: random changes to an image and its boxes.

An image is (h, w, 3) uint8 without padding, at the top left of the network's input. Boxes are
(n, 4) float32 xyxy px. Arguments are never written to. Negative labels mark crowd regions, which
are changed in the same way as boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.pictures.boxes import Boxes
from nasfpn_runtime.pictures.crops import JITTERS, Labels, cropped, iou_crop, jitter_stored
from nasfpn_runtime.pictures.image import Pixels, resize
from nasfpn_runtime.pictures.image import fit as fit_picture

MOST_SCALE = 16  # an image is scaled before it is cropped

Part = tuple[Pixels, Boxes, Labels]

_GREY = np.array([0.299, 0.587, 0.114])  # luma, ITU-R BT.601


@dataclass(frozen=True)
class Augment:
    """Random changes to a training image; by default there are none.

    Attributes:
        hflip: probability of mirroring left to right.
        vflip: probability of mirroring top to bottom.
        scale: lowest and highest factor of random scaling; null for none.
        colour: strength of random brightness, contrast and saturation: each factor is drawn from
            1 - colour to 1 + colour. 0 for none.
        jitter: which image ``scale`` applies to: the ``fitted`` image, which is then scaled a
            second time, or the stored one, scaled once by the rules of ``tf`` or ``mmdet``.
        iou_crop: if true, the stored image is cropped at random around objects (model zoo, see
            ``crops.iou_crop``); otherwise it is not cropped before it is scaled.

    Raises:
        RecipeError: a value is out of range.
    """

    hflip: float = 0.0
    vflip: float = 0.0
    scale: tuple[float, float] | None = None
    colour: float = 0.0
    jitter: str = "fitted"
    iou_crop: bool = False

    def __post_init__(self) -> None:
        for name in ("hflip", "vflip", "colour"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"{name} must be from 0 to 1, got {getattr(self, name)!r}")
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1] <= MOST_SCALE:
            raise RecipeError(
                f"scale must be two factors above 0, low and high, at most {MOST_SCALE}, "
                f"got {self.scale!r}"
            )
        if self.jitter not in ("fitted", *JITTERS):
            known = ", ".join(("fitted", *JITTERS))
            raise RecipeError(f"jitter must be one of {known}, got {self.jitter!r}")

    @property
    def on_stored(self) -> bool:
        """Whether images are changed before they are fitted, by :meth:`arrange`."""
        return self.iou_crop or self._once

    @property
    def replaces(self) -> bool:
        """Whether an image that lost all its boxes is replaced by another one (mmdetection)."""
        return self._once and JITTERS[self.jitter].replace

    @property
    def _once(self) -> bool:
        return self.scale is not None and self.jitter in JITTERS

    def arrange(
        self,
        image: Pixels,
        boxes: Boxes,
        labels: Labels,
        rng: np.random.Generator,
        size: tuple[int, int],
        *,
        fit: str = "letterbox",
        interpolation: str = "antialias",
        round_up: bool = False,
    ) -> Part:
        """Return a stored image cropped and fitted to ``size``, its boxes and labels.

        Colours are changed in between, where there are the fewest pixels; :meth:`apply` then
        does not change them.

        Args:
            image, boxes: as stored.
            rng: every call draws the same number of values from it.
            size: (height, width) of the input.
            fit, interpolation, round_up: see ``image.fit``.
        """
        zoom = rng.random(3).tolist()
        tint = rng.uniform(-1, 1, 3)
        if self.iou_crop:
            image, boxes, labels = iou_crop(image, boxes, labels, rng)
        if self.colour:
            image = colour_jitter(image, *(1 + self.colour * tint))
        if self._once:
            return jitter_stored(
                image,
                boxes,
                labels,
                size,
                self._factor(zoom[0]),
                (zoom[1], zoom[2]),
                rule=JITTERS[self.jitter],
                fit=fit,
                interpolation=interpolation,
                round_up=round_up,
            )
        fitted, placement = fit_picture(image, size, fit, interpolation, round_up=round_up)
        return fitted, placement.forward(boxes), labels

    def apply(
        self,
        image: Pixels,
        boxes: Boxes,
        labels: Labels,
        rng: np.random.Generator,
        size: tuple[int, int],
    ) -> Part:
        """Return the changed image, at most as large as ``size``, its boxes and labels.

        Args:
            image: an image that ``fit`` scaled to ``size`` (height, width).
            rng: every call draws the same number of values from it, so that the values for
                one change do not depend on the settings of the others.
        """
        flip_x, flip_y = rng.random(2)
        zoom = rng.random(3)
        tint = rng.uniform(-1, 1, 3)
        if self.colour and not self.on_stored:
            # Before the flips, which return views that would have to be copied.
            image = colour_jitter(image, *(1 + self.colour * tint))
        if flip_x < self.hflip:
            image, boxes = horizontal_flip(image, boxes)
        if flip_y < self.vflip:
            image, boxes = vertical_flip(image, boxes)
        if self.scale is not None and not self._once:
            image, boxes, labels = scale_jitter(
                image, boxes, labels, size, self._factor(zoom[0]), (zoom[1], zoom[2])
            )
        return image, boxes, labels

    def _factor(self, fraction: float) -> float:
        assert self.scale is not None  # checked by the callers
        low, high = self.scale
        return low + (high - low) * fraction


def horizontal_flip(image: Pixels, boxes: Boxes) -> tuple[Pixels, Boxes]:
    """Return image and boxes mirrored left to right."""
    width = np.float32(image.shape[1])
    x1, y1, x2, y2 = boxes.T
    return image[:, ::-1], np.stack([width - x2, y1, width - x1, y2], axis=1)


def vertical_flip(image: Pixels, boxes: Boxes) -> tuple[Pixels, Boxes]:
    """Return image and boxes mirrored top to bottom."""
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
    """Return the image scaled by ``factor`` and cropped to ``size`` where it is larger.

    Boxes are clipped to the crop. Boxes less than a pixel wide or high there are dropped.
    (tensorflow/tpu keeps any positive area, but a sliver tells nothing about the object's size.)

    Args:
        size: (height, width) of the network's input.
        offset: (y, x) position of the crop, as fractions from 0 to 1 of the px that do not fit.
    """
    height, width = image.shape[:2]
    scaled = resize(image, (max(1, round(height * factor)), max(1, round(width * factor))))
    top, left = (
        int(fraction * (max(0, side - frame) + 1 - 1e-9))
        for fraction, side, frame in zip(offset, scaled.shape, size, strict=False)
    )
    crop = scaled[top : top + size[0], left : left + size[1]]
    gain = np.array([scaled.shape[1] / width, scaled.shape[0] / height] * 2, dtype=np.float32)
    moved = cropped(boxes * gain, top, left, crop)
    kept = (moved[:, 2:] - moved[:, :2] >= 1).all(axis=1)
    return crop, moved[kept], labels[kept]


def colour_jitter(image: Pixels, brightness: float, contrast: float, saturation: float) -> Pixels:
    """Return the image with three factors applied; a factor of 1 changes nothing.

    ``brightness`` multiplies all values, then ``contrast`` the difference from the image's mean
    grey, then ``saturation`` each pixel's difference from its own grey. Values are rounded and
    clipped once, at the end, so the order does not matter. MindSpore's ``RandomColorAdjust``
    (model zoo) applies the three in random order, and rounds and clips after each.
    """
    # All three steps are linear in the pixel, so one matrix and one offset do.
    mixing = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _GREY)
    image = np.ascontiguousarray(image)
    # Summing over rows first keeps the bytes contiguous, which is many times faster.
    columns = image.reshape(len(image), -1).sum(axis=0, dtype=np.uint32)
    mean = columns.reshape(-1, 3).sum(axis=0) / (image.shape[0] * image.shape[1])
    offset = (1 - contrast) * brightness * float(mean @ _GREY)
    rows = np.column_stack([brightness * contrast * mixing, np.full(3, offset)])
    changed = Image.fromarray(image).convert("RGB", tuple(rows.ravel().tolist()))
    return np.asarray(changed)
