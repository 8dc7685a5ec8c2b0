"""Boxes: overlaps by hand and by loops, the box code and its inverse."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nasfpn_runtime.boxes import area, clip_boxes, decode, encode, intersection, iou

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
    # Half of each shared: 50 / (100 + 100 - 50). Touching shares nothing. Inside: 10 / 100.
    np.testing.assert_allclose(iou(a, b), [[1, 1 / 3, 0, 0.1, 0]], rtol=1e-6)
    np.testing.assert_array_equal(intersection(a, b), [[100, 50, 0, 10, 0]])
    np.testing.assert_array_equal(area(b), [100, 100, 100, 10, 0])


def test_boxes_without_area_overlap_nothing() -> None:
    point = array((3, 3, 3, 3))
    assert iou(point, point) == 0


@given(st.integers(0, 2**32 - 1))
def test_iou_is_that_of_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = draw_boxes(5, rng), draw_boxes(7, rng)
    expected = np.zeros((5, 7))
    for i, (ax1, ay1, ax2, ay2) in enumerate(a.tolist()):
        for j, (bx1, by1, bx2, by2) in enumerate(b.tolist()):
            shared = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
            both = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1)
            expected[i, j] = shared / (both - shared)
    found = iou(a, b)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found, iou(b, a).T)


def test_code_by_hand() -> None:
    anchor, box = array((0, 0, 10, 20)), array((5, 10, 15, 50))
    # Centres (x, y): (5, 10) and (10, 30). ty = 20 / 20, tx = 5 / 10, th = log(40 / 20),
    # tw = log(10 / 10).
    np.testing.assert_allclose(encode(box, anchor), [[1, 0.5, math.log(2), 0]], rtol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_decode_inverts_encode(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes, anchors = draw_boxes(20, rng), draw_boxes(20, rng)
    # Sides are 1 to 200, so that a box may be 200 times an anchor: beyond the usual clip.
    decoded = decode(encode(boxes, anchors), anchors, clip=math.log(200) + 1)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, boxes, rtol=1e-4, atol=1e-2)


@given(st.integers(0, 2**32 - 1))
def test_encode_inverts_decode(seed: int) -> None:
    rng = np.random.default_rng(seed)
    deltas, anchors = rng.normal(size=(20, 4)).astype(np.float32), draw_boxes(20, rng)
    encoded = encode(decode(deltas, anchors), anchors)
    assert encoded.dtype == np.float32
    # A side of 1 px at 300 px is known to 3e-5 / 1 in float32.
    np.testing.assert_allclose(encoded, deltas, rtol=1e-3, atol=2e-3)


def test_decode_bounds_growth() -> None:
    anchor, deltas = array((0, 0, 16, 16)), array((0, 0, 1e4, 1e4))
    x1, y1, x2, y2 = decode(deltas, anchor)[0]
    np.testing.assert_allclose([x2 - x1, y2 - y1], [1000, 1000], rtol=1e-5)


def test_clip_keeps_what_is_inside() -> None:
    boxes = array((-5, -5, 30, 8), (2, 3, 4, 5), (40, 40, 50, 50))
    inside = clip_boxes(boxes, (10, 20))
    np.testing.assert_array_equal(inside, [[0, 0, 20, 8], [2, 3, 4, 5], [20, 10, 20, 10]])
    np.testing.assert_array_equal(clip_boxes(inside, (10, 20)), inside)
