"""Anchors: values computed by hand, a comparison with loops, the rule for image sides."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nasfpn_runtime.pictures.anchors import anchor_grid, anchor_levels


def test_one_cell_by_hand() -> None:
    # One cell of stride 8: centre 4, side 4 * 8 = 32, half 16. Ratio 2 is wider by a factor of
    # sqrt(2) and lower by the same: half sides 16 * 1.41421 = 22.62742 and 11.31371.
    wide, low = 22.62742, 11.31371
    expected: list[list[float]] = [
        [4 - 16, 4 - 16, 4 + 16, 4 + 16],
        [4 - wide, 4 - low, 4 + wide, 4 + low],
        [4 - low, 4 - wide, 4 + low, 4 + wide],
    ]
    anchors = anchor_grid([3], (8, 8), octaves=1)
    assert anchors.dtype == np.float32
    np.testing.assert_allclose(anchors, expected, rtol=1e-6)


@pytest.mark.parametrize("centre", [0.5, 0.0])
@pytest.mark.parametrize("ratio_major", [False, True])
@pytest.mark.parametrize(
    ("levels", "image", "scale", "octaves", "ratios"),
    [
        ((3, 4, 5, 6, 7), (128, 256), 4.0, 3, (1.0, 2.0, 0.5)),
        ((2, 4), (32, 16), 2.5, 2, (1.0,)),
        ((3, 4, 5, 6), (64, 64), 3.0, 1, (0.25, 3.0)),
    ],
)
def test_order_is_level_row_column_and_shape(
    levels: tuple[int, ...],
    image: tuple[int, int],
    scale: float,
    octaves: int,
    ratios: tuple[float, ...],
    ratio_major: bool,
    centre: float,
) -> None:
    shapes = [(step, ratio) for step in range(octaves) for ratio in ratios]
    if ratio_major:
        shapes = [(step, ratio) for ratio in ratios for step in range(octaves)]
    expected, expected_levels = [], []
    for level in levels:
        stride = 2**level
        for row in range(image[0] // stride):
            for column in range(image[1] // stride):
                for step, ratio in shapes:
                    side = scale * stride * 2 ** (step / octaves)
                    w, h = side * math.sqrt(ratio), side / math.sqrt(ratio)
                    x, y = (column + centre) * stride, (row + centre) * stride
                    expected.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
                    expected_levels.append(level)
    anchors = anchor_grid(
        levels, image, scale, octaves, ratios, ratio_major=ratio_major, centre=centre
    )
    np.testing.assert_allclose(anchors, np.array(expected), rtol=1e-6, atol=1e-4)
    fractions = anchor_grid(
        levels,
        image,
        scale,
        octaves,
        ratios,
        ratio_major=ratio_major,
        centre=centre,
        normalised=True,
    )
    sides = [image[1], image[0], image[1], image[0]]
    assert fractions.dtype == np.float32
    np.testing.assert_allclose(fractions, np.array(expected) / sides, rtol=1e-6, atol=1e-7)
    per_cell = octaves * len(ratios)
    assert anchor_levels(levels, image, per_cell).tolist() == expected_levels


def test_the_published_input_has_76725_anchors() -> None:
    # 640 px: 80^2 + 40^2 + 20^2 + 10^2 + 5^2 = 8525 cells of 9 anchors.
    assert anchor_grid(range(3, 8), (640, 640)).shape == (76_725, 4)


@pytest.mark.parametrize("image", [(128, 130), (64, 128), (0, 128), (-128, 128)])
def test_sides_are_multiples_of_the_coarsest_stride(image: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"128, got \(-?\d+, \d+\)"):
        anchor_grid(range(3, 8), image)
