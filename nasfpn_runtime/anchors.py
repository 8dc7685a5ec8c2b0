"""The boxes that a detector's predictions are relative to."""

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
) -> NDArray[np.float32]:
    """Return the anchors of all levels, (A, 4) float32 xyxy in pixels of the image.

    Order: level, row, column, then scale-major: octave steps ``2 ** (i / octaves)``
    outside, ratios inside. An anchor is centred half a cell in, has the area
    ``(scale * stride * step) ** 2`` and is ``ratio`` times as wide as high. Anchors may
    reach over the border. The defaults, order and centre are those of tensorflow/tpu
    ``models/official/detection``.

    Args:
        levels: pyramid levels; level l has the stride ``2 ** l``.
        image: (height, width).

    Raises:
        ValueError: a side of the image is not a positive multiple of the coarsest stride.
    """
    coarsest = 1 << max(levels)
    if any(side < coarsest or side % coarsest for side in image):
        raise ValueError(
            f"image sides are multiples of the coarsest stride {coarsest}, got {tuple(image)}"
        )
    shapes = _shapes(octaves, ratios) * scale
    return np.concatenate([_level(1 << level, image, shapes) for level in levels])


def _shapes(octaves: int, ratios: Sequence[float]) -> NDArray[np.float64]:
    """Return (octaves * ratios, 2) widths and heights of anchors of unit side."""
    steps = 2.0 ** (np.arange(octaves) / octaves)
    stretch = np.sqrt(np.asarray(ratios, dtype=np.float64))
    return np.stack(
        [np.outer(steps, stretch).ravel(), np.outer(steps, 1 / stretch).ravel()], axis=1
    )


def _level(stride: int, image: tuple[int, int], shapes: NDArray[np.float64]) -> NDArray[np.float32]:
    y, x = ((np.arange(side // stride) + 0.5) * stride for side in image)
    centres = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None, :]  # row, column, 1, (x, y)
    half = shapes * stride / 2
    corners: NDArray[np.float64] = np.concatenate([centres - half, centres + half], axis=-1)
    return corners.reshape(-1, 4).astype(np.float32)
