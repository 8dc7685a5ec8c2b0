"""Notice a set whose boxes are in other units than its format has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.errors import DataError
from search_space.errors import value_text

# What the four numbers of a box are, and how a message names it.
SIZES = "x, y, width, height in pixels"
CORNERS = "the corners x1, y1, x2, y2 in pixels"
SHARES = "shares of the image's width and height"

_LEAST = 2  # boxes; one alone tells little
_SLACK = 1.0  # px by which a box may stick out of its image
_MOST_SHARE = 2.0  # a larger number is no share


def check_boxes(
    boxes: Sequence[tuple[int, int, Sequence[float]]], expected: str, file: Path
) -> None:
    """Check that the numbers of the boxes of a set can be what its format has.

    Sizes look like corners, or corners like sizes, if all boxes would fit into their images as
    such, and more than half cannot be what is expected: they would stick out of the image, or have
    no area. Pixels look like shares if none is above 1 and not all are whole numbers. Shares
    look like pixels if each box has a number above 2.

    Args:
        boxes: image width, image height and the four numbers of each box, as written.
        expected: ``SIZES``, ``CORNERS`` or ``SHARES``.
        file: annotation file, for the message.

    Raises:
        DataError: two or more boxes, all that there are, look like something else.
    """
    if len(boxes) < _LEAST:
        return
    table = np.array([(w, h, *box) for w, h, box in boxes], np.float64)
    for other, found in _ALIKE[expected].items():
        if found(table):
            raise DataError(
                f"boxes must be {expected}, got {value_text(list(boxes[0][2]))} and others: all "
                f"{len(boxes):,} boxes look like {other} (at {file})"
            )


def _are_corners(table: NDArray[np.float64]) -> bool:
    fits_as_corners, fits_as_sizes = _fits(table)
    return bool(fits_as_corners.all() and 2 * (~fits_as_sizes).sum() > len(table))


def _are_sizes(table: NDArray[np.float64]) -> bool:
    fits_as_corners, fits_as_sizes = _fits(table)
    return bool(fits_as_sizes.all() and 2 * (~fits_as_corners).sum() > len(table))


def _are_shares(table: NDArray[np.float64]) -> bool:
    values = table[:, 2:]
    return bool((abs(values) <= 1).all() and (values % 1 != 0).any())


def _are_pixels(table: NDArray[np.float64]) -> bool:
    return bool((table[:, 2:] > _MOST_SHARE).any(axis=1).all())


def _fits(table: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which boxes fit into their images as corners, and which as sizes.

    Corners may be equal: VOC's boxes include their last row and column.
    """
    width, height, x, y, third, fourth = table.T
    right, bottom = width + _SLACK, height + _SLACK
    inside = (x >= -_SLACK) & (y >= -_SLACK)
    as_corners = inside & (third >= x) & (fourth >= y) & (third <= right) & (fourth <= bottom)
    as_sizes = inside & (third > 0) & (fourth > 0) & (third <= right - x) & (fourth <= bottom - y)
    return as_corners, as_sizes


_ALIKE = {
    SIZES: {CORNERS: _are_corners, SHARES: _are_shares},
    CORNERS: {SIZES: _are_sizes, SHARES: _are_shares},
    SHARES: {"pixels": _are_pixels},
}
