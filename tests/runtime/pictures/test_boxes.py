"""Boxes: overlaps by hand and compared with loops, the box code and its inverse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.pictures.boxes import (
    CLIPS,
    ORDERS,
    BoxCode,
    area,
    clip_boxes,
    decode,
    encode,
    intersection,
    iou,
)

Array = NDArray[np.float32]


def array(*rows: tuple[float, ...]) -> Array:
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


def draw_boxes(count: int, rng: np.random.Generator) -> Array:
    low: NDArray[np.float64] = rng.uniform(-50, 300, (count, 2))
    both: NDArray[np.float64] = np.concatenate([low, low + rng.uniform(1, 200, (count, 2))], axis=1)
    return both.astype(np.float32)


def test_overlaps_by_hand() -> None:
    a = array((0, 0, 10, 10))
    b = array((0, 0, 10, 10), (5, 0, 15, 10), (10, 0, 20, 10), (2, 2, 4, 7), (3, 3, 3, 9))
    # Half of each overlaps: 50 / (100 + 100 - 50). Touching boxes do not. Inside: 10 / 100.
    np.testing.assert_allclose(iou(a, b), [[1, 1 / 3, 0, 0.1, 0]], rtol=1e-6)
    np.testing.assert_array_equal(intersection(a, b), [[100, 50, 0, 10, 0]])
    np.testing.assert_array_equal(area(b), [100, 100, 100, 10, 0])


def test_boxes_without_area_overlap_nothing() -> None:
    point = array((3, 3, 3, 3))
    assert iou(point, point) == 0


@given(st.integers(0, 2**32 - 1))
def test_iou_is_the_same_as_by_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = draw_boxes(5, rng), draw_boxes(7, rng)
    expected = np.zeros((5, 7))
    for i, (ax1, ay1, ax2, ay2) in enumerate(a.tolist()):
        for j, (bx1, by1, bx2, by2) in enumerate(b.tolist()):
            shared = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
            both = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1)
            expected[i, j] = shared / (both - shared)
    overlaps = iou(a, b)
    assert overlaps.dtype == np.float32
    np.testing.assert_allclose(overlaps, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(overlaps, iou(b, a).T)


def test_code_by_hand() -> None:
    anchor, box = array((0, 0, 10, 20)), array((5, 10, 15, 50))
    # Centres (x, y): (5, 10) and (10, 30). ty = 20 / 20, tx = 5 / 10, th = log(40 / 20),
    # tw = log(10 / 10).
    np.testing.assert_allclose(encode(box, anchor), [[1, 0.5, math.log(2), 0]], rtol=1e-6)


def test_other_codes_by_hand() -> None:
    # As above: dx = 0.5, dy = 1, dw = 0, dh = log 2, divided by variances 0.1 and 0.2.
    anchor, box = array((0, 0, 10, 20)), array((5, 10, 15, 50))
    mmdet, zoo = BoxCode(order="xywh"), BoxCode(variances=(0.1, 0.2))
    np.testing.assert_allclose(encode(box, anchor, mmdet), [[0.5, 1, 0, math.log(2)]], rtol=1e-6)
    np.testing.assert_allclose(encode(box, anchor, zoo), [[10, 5, 5 * math.log(2), 0]], rtol=1e-6)


codes = st.builds(
    BoxCode,
    order=st.sampled_from(sorted(ORDERS)),
    variances=st.sampled_from([(1.0, 1.0), (0.1, 0.2)]),
    clip=st.sampled_from(sorted(CLIPS)),
)


@given(st.integers(0, 2**32 - 1), codes)
def test_decode_inverts_encode(seed: int, code: BoxCode) -> None:
    rng = np.random.default_rng(seed)
    boxes, anchors = draw_boxes(20, rng), draw_boxes(20, rng)
    # Only ratios within the clip's bound of 1000 / 16; sides are 1 to 200, so most pairs are.
    ratio = (boxes[:, 2:] - boxes[:, :2]) / (anchors[:, 2:] - anchors[:, :2])
    near = ((ratio < 62) & (ratio > 1 / 62)).all(axis=1)
    decoded = decode(encode(boxes, anchors, code), anchors, code)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded[near], boxes[near], rtol=1e-4, atol=1e-2)


@given(st.integers(0, 2**32 - 1), codes)
def test_encode_inverts_decode(seed: int, code: BoxCode) -> None:
    rng = np.random.default_rng(seed)
    units = np.repeat(np.float32(code.variances), 2)
    # Within the bound of every clip, log(1000 / 16) = 4.14.
    deltas = rng.uniform(-4, 4, (20, 4)).astype(np.float32) / units
    anchors = draw_boxes(20, rng)
    encoded = encode(decode(deltas, anchors, code), anchors, code)
    assert encoded.dtype == np.float32
    # In float32, the side of a box of 1 px at 300 px has a relative error of 3e-5.
    np.testing.assert_allclose(encoded * units, deltas * units, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("clip", "grown", "shrunk"),
    [("growth", 1000, 0), ("both", 1000, 16 * 16 / 1000), ("none", 16 * math.exp(5), 0)],
)
def test_decoding_limits_what_the_clip_says(clip: str, grown: float, shrunk: float) -> None:
    # 16 px by 1000 / 16 is 1000 px; by 16 / 1000 it is 0.256 px; log(1000 / 16) is 4.1.
    anchor, code = array((0, 0, 16, 16)), BoxCode(clip=clip)
    sizes = [
        float(x2 - x1)
        for x1, _, x2, _ in (decode(array((0, 0, t, t)), anchor, code)[0] for t in (5, -80))
    ]
    np.testing.assert_allclose(sizes, [grown, shrunk], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_a_code_without_clip_may_overflow_to_the_whole_image() -> None:
    box = decode(array((0, 0, 1e4, 1e4)), array((0, 0, 16, 16)), BoxCode(clip="none"))
    np.testing.assert_array_equal(clip_boxes(box, (10, 20)), [[0, 0, 20, 10]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"order": "xyxy"}, r"order .* yxhw, xywh, got 'xyxy'"),
        ({"clip": "low"}, r"clip .* growth, both, none, got 'low'"),
        ({"variances": (0.1, 0.0)}, r"variances .* got \(0\.1, 0\.0\)"),
    ],
)
def test_a_wrong_code_is_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        BoxCode(**wrong)


def test_clip_keeps_what_is_inside() -> None:
    boxes = array((-5, -5, 30, 8), (2, 3, 4, 5), (40, 40, 50, 50))
    inside = clip_boxes(boxes, (10, 20))
    np.testing.assert_array_equal(inside, [[0, 0, 20, 8], [2, 3, 4, 5], [20, 10, 20, 10]])
    np.testing.assert_array_equal(clip_boxes(inside, (10, 20)), inside)
