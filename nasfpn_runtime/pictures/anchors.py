"""Anchors: the boxes that a detector's predictions are relative to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def anchor_grid(
    levels: Sequence[int],
    image: tuple[int, int],
    scale: float = 4.0,
    octaves: int = 3,
    ratios: Sequence[float] = (1.0, 2.0, 0.5),
    *,
    ratio_major: bool = False,
    centre: float = 0.5,
    normalised: bool = False,
) -> NDArray[np.float32]:
    """Return the anchors of all levels, (A, 4) float32 xyxy in pixels of the image.

    Order: level, row, column, then octave steps ``2 ** (i / octaves)`` in the outer loop and
    ratios in the inner one, or the other way round (``ratio_major``). An anchor has the area
    ``(scale * stride * step) ** 2`` and is ``ratio`` times as wide as high. Anchors may extend
    beyond the image. The defaults are those of tensorflow/tpu ``dataloader/anchor.py``;
    mmdetection's ``anchor_generator.py`` and the model zoo's ``box_utils.py`` are ratio-major.

    Args:
        levels: pyramid levels; level l has stride ``2 ** l``.
        image: (height, width).
        ratio_major: ratios are the outer loop, octave steps the inner one.
        centre: position of an anchor's centre in its cell, as a fraction of the cell's side:
            0.5 (TF, model zoo) or 0 (mmdetection).
        normalised: coordinates are fractions of the image's sides, rounded once to float32,
            instead of pixels.

    Raises:
        ValueError: a side of the image is not a positive multiple of the coarsest stride.
    """
    coarsest = 1 << max(levels)
    if any(side < coarsest or side % coarsest for side in image):
        raise ValueError(
            f"image sides must be multiples of the coarsest stride {coarsest}, got {tuple(image)}"
        )
    shapes = _shapes(octaves, ratios, ratio_major) * scale
    corners = np.concatenate([_level(1 << level, image, shapes, centre) for level in levels])
    if normalised:
        corners /= np.array([image[1], image[0]] * 2)
    return corners.astype(np.float32)


def anchor_levels(levels: Sequence[int], image: tuple[int, int], per_cell: int) -> NDArray[np.intp]:
    """Return (A,): the level of each anchor of :func:`anchor_grid`.

    Args:
        per_cell: number of anchors of each cell of a feature map.
    """
    counts = [(image[0] >> level) * (image[1] >> level) * per_cell for level in levels]
    return np.repeat(np.array(levels, dtype=np.intp), counts)


def _shapes(octaves: int, ratios: Sequence[float], ratio_major: bool) -> NDArray[np.float64]:
    """Return (octaves * ratios, 2): widths and heights of the anchors for a side of 1."""
    steps = 2.0 ** (np.arange(octaves) / octaves)
    stretch = np.sqrt(np.asarray(ratios, dtype=np.float64))
    sides = np.stack([np.outer(steps, stretch), np.outer(steps, 1 / stretch)], axis=-1)
    if ratio_major:
        sides = sides.swapaxes(0, 1)
    return sides.reshape(-1, 2)


def _level(
    stride: int, image: tuple[int, int], shapes: NDArray[np.float64], centre: float
) -> NDArray[np.float64]:
    y, x = ((np.arange(side // stride) + centre) * stride for side in image)
    centres = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None, :]  # row, column, 1, (x, y)
    half = shapes * stride / 2
    corners: NDArray[np.float64] = np.concatenate([centres - half, centres + half], axis=-1)
    return corners.reshape(-1, 4)
