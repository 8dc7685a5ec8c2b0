"""Suppression against quadratic loops in exact fractions, ties and twins included."""

from __future__ import annotations

from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nasfpn_runtime import postprocess
from nasfpn_runtime.anchors import anchor_grid
from nasfpn_runtime.boxes import encode
from nasfpn_runtime.postprocess import detections

Box = tuple[int, int, int, int]
Found = tuple[Box, float, int]

IMAGE = (12, 16)
side = st.integers(-4, 16)
# Whole pixels, so that both sides find the same fraction on either side of a threshold.
box_strategy = st.tuples(side, side, st.integers(1, 12), st.integers(1, 12)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def overlap(a: Box, b: Box) -> Fraction:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return Fraction(shared, union)


def slowly(
    anchors: list[Box], scores: NDArray[np.float32], iou: Fraction, pre_nms: int, maximum: int
) -> list[Found]:
    """Suppress class by class, then rank all: the order that the fast way avoids."""
    height, width = IMAGE
    result: list[tuple[float, int, int, Box]] = []
    for label in range(scores.shape[1]):
        order = sorted(range(len(anchors)), key=lambda a: (-float(scores[a, label]), a))
        candidates = [a for a in order if scores[a, label] > np.float32(0.05)][:pre_nms]
        kept: list[Box] = []
        for anchor in candidates:
            x1, y1, x2, y2 = anchors[anchor]
            box = (
                min(max(x1, 0), width),
                min(max(y1, 0), height),
                min(max(x2, 0), width),
                min(max(y2, 0), height),
            )
            if box[0] < box[2] and box[1] < box[3] and all(overlap(box, k) <= iou for k in kept):
                kept.append(box)
                result.append((-float(scores[anchor, label]), label, anchor, box))
    return [(box, -score, label) for score, label, _, box in sorted(result)][:maximum]


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Box], NDArray[np.float32]]:
    anchors = draw(st.lists(box_strategy, min_size=1, max_size=20))
    classes = draw(st.integers(1, 3))
    # Few values: many ties, and some below the threshold.
    values = st.sampled_from([0.01, 0.05, 0.25, 0.5, 0.75])
    row = st.lists(values, min_size=classes, max_size=classes)
    scores = draw(st.lists(row, min_size=len(anchors), max_size=len(anchors)))
    return anchors, np.array(scores, dtype=np.float32)


@given(
    cases(),
    st.sampled_from([3, 5, 7]),
    st.sampled_from([1, 3, 5000]),
    st.sampled_from([1, 4, 100]),
    st.sampled_from([1, 3, 512]),
)
def test_detections_are_those_of_loops(
    case: tuple[list[Box], NDArray[np.float32]], tenths: int, pre_nms: int, maximum: int, block: int
) -> None:
    anchors, scores = case
    expected = slowly(anchors, scores, Fraction(tenths, 10), pre_nms, maximum)
    with mock.patch.object(postprocess, "_BLOCK", block):
        found = detections(
            scores,
            np.zeros((len(anchors), 4), dtype=np.float32),  # a box is its anchor
            np.array(anchors, dtype=np.float32),
            image=IMAGE,
            iou=tenths / 10,
            pre_nms=pre_nms,
            maximum=maximum,
        )
    dtypes = [values.dtype for values in (found.boxes, found.scores, found.labels)]
    assert dtypes == [np.dtype(np.float32), np.dtype(np.float32), np.dtype(np.int32)]
    boxes = [tuple(map(int, box)) for box in found.boxes.tolist()]
    assert list(zip(boxes, found.scores.tolist(), found.labels.tolist(), strict=True)) == expected


@pytest.mark.parametrize(("iou", "count"), [(0.5, 2), (0.49, 1)])
def test_an_overlap_at_the_threshold_is_allowed(iou: float, count: int) -> None:
    twins = np.array([[0, 0, 10, 10], [0, 0, 5, 10]], dtype=np.float32)  # IoU 50 / 100
    scores = np.full((2, 1), 0.9, dtype=np.float32)
    assert len(detections(scores, np.zeros_like(twins), twins, image=IMAGE, iou=iou)) == count


def test_boxes_are_decoded_and_cut() -> None:
    anchors = anchor_grid([3, 4], (32, 48))
    target = np.tile(np.array([[20, 10, 60, 30]], dtype=np.float32), (len(anchors), 1))
    scores = np.zeros((len(anchors), 2), dtype=np.float32)
    scores[7, 1] = 0.9
    found = detections(scores, encode(target, anchors), anchors, image=(32, 48))
    np.testing.assert_allclose(found.boxes, [[20, 10, 48, 30]], atol=1e-3)
    assert (len(found), found.labels.tolist()) == (1, [1])


def test_nothing_found_keeps_the_shapes() -> None:
    anchors = anchor_grid([3], (16, 16))
    nothing = np.zeros((len(anchors), 3), dtype=np.float32)
    found = detections(nothing, np.zeros_like(anchors), anchors, image=(16, 16))
    assert (len(found), found.boxes.shape, found.labels.shape) == (0, (0, 4), (0,))


def test_an_exploded_network_finds_nothing() -> None:
    anchors = anchor_grid([3], (16, 16))
    nan = np.full((len(anchors), 3), np.nan, dtype=np.float32)
    sure = np.ones_like(nan)
    assert len(detections(nan, np.zeros_like(anchors), anchors, image=(16, 16))) == 0
    assert len(detections(sure, np.full_like(anchors, np.nan), anchors, image=(16, 16))) == 0
