"""Suppression compared with loops in exact fractions, including ties and duplicates."""

from __future__ import annotations

from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nasfpn_runtime.inference import postprocess
from nasfpn_runtime.inference.postprocess import Detections, choose
from nasfpn_runtime.pictures.anchors import anchor_grid
from nasfpn_runtime.pictures.boxes import decode, encode
from nasfpn_runtime.pictures.image import Placement
from nasfpn_runtime.recipe.settings import DetectionRule

Box = tuple[int, int, int, int]
Detection = tuple[Box, float, int]

IMAGE = (12, 16)
RULE = DetectionRule()
side = st.integers(-4, 16)
# Integers, so that float32 and exact fractions agree on which side of a threshold an IoU is.
box_strategy = st.tuples(side, side, st.integers(1, 12), st.integers(1, 12)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def overlap(a: Box, b: Box, pixel: int) -> Fraction:
    width = min(a[2], b[2]) - max(a[0], b[0]) + pixel
    height = min(a[3], b[3]) - max(a[1], b[1]) + pixel
    shared = max(0, width) * max(0, height)
    areas = [(box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) for box in (a, b)]
    return Fraction(shared, sum(areas) - shared)


def clipped(box: Box) -> Box:
    x1, y1, x2, y2 = (min(max(value, 0), IMAGE[1 - i % 2]) for i, value in enumerate(box))
    return x1, y1, x2, y2


def candidates(
    scores: NDArray[np.float32], levels: list[int], rule: DetectionRule
) -> list[tuple[float, int, int]]:
    """Return (-score, class, anchor) of the candidates for suppression, highest score first."""
    anchors, classes = scores.shape
    table = sorted(
        (-float(scores[a, k]), k, a)
        for k in range(classes)
        for a in range(anchors)
        if scores[a, k] > np.float32(rule.score)
    )
    if rule.pre_nms is None:
        return table
    groups: dict[int, list[tuple[float, int, int]]] = {}
    for entry in table:
        group = levels[entry[2]] if rule.pre_nms_per_level else entry[1]
        groups.setdefault(group, []).append(entry)
    most = max(rule.pre_nms, rule.maximum)
    return sorted(entry for group in groups.values() for entry in group[:most])


def reference_detections(
    anchors: list[Box], levels: list[int], scores: NDArray[np.float32], rule: DetectionRule
) -> list[Detection]:
    """Suppress class by class, then rank the kept boxes of all classes together."""
    iou, pixel = Fraction(round(rule.iou * 10), 10), int(rule.inclusive)
    table = candidates(scores, levels, rule)
    result: list[tuple[float, int, int, Box]] = []
    for label in range(scores.shape[1]):
        kept: list[Box] = []
        for score, _, anchor in (entry for entry in table if entry[1] == label):
            box = clipped(anchors[anchor])
            solid = rule.inclusive or (box[0] < box[2] and box[1] < box[3])
            full = rule.maximum_per_class and len(kept) == rule.maximum
            if solid and not full and all(overlap(box, k, pixel) <= iou for k in kept):
                kept.append(box)
                result.append((score, label, anchor, box))
    result.sort()
    if not rule.maximum_per_class:
        result = result[: rule.maximum]
    return [(box, -score, label) for score, label, _, box in result]


def find(
    scores: NDArray[np.float32],
    deltas: NDArray[np.float32],
    anchors: NDArray[np.float32],
    rule: DetectionRule = RULE,
    image: tuple[int, int] = IMAGE,
    levels: list[int] | None = None,
) -> Detections:
    """Return the detections in an image that was not scaled."""
    of_anchors = np.array(levels or [3] * len(anchors), dtype=np.intp)
    return choose(scores, decode(deltas, anchors), of_anchors, Placement(1, 1, *image), rule)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Box], list[int], NDArray[np.float32]]:
    anchors = draw(st.lists(box_strategy, min_size=1, max_size=20))
    count = len(anchors)
    levels = sorted(draw(st.lists(st.integers(3, 5), min_size=count, max_size=count)))
    classes = draw(st.integers(1, 3))
    # Few values, so that there are many ties, and some below the threshold.
    values = st.sampled_from([0.01, 0.05, 0.25, 0.5, 0.75])
    row = st.lists(values, min_size=classes, max_size=classes)
    scores = draw(st.lists(row, min_size=count, max_size=count))
    return anchors, levels, np.array(scores, dtype=np.float32)


rules = st.builds(
    DetectionRule,
    iou=st.sampled_from([0.3, 0.5, 0.7]),
    pre_nms=st.sampled_from([1, 3, 5000, None]),
    pre_nms_per_level=st.booleans(),
    maximum=st.sampled_from([1, 4, 100]),
    maximum_per_class=st.booleans(),
    inclusive=st.booleans(),
)


@given(cases(), rules, st.sampled_from([1, 3, 512]))
def test_detections_equal_those_of_the_reference(
    case: tuple[list[Box], list[int], NDArray[np.float32]], rule: DetectionRule, block: int
) -> None:
    anchors, levels, scores = case
    expected = reference_detections(anchors, levels, scores, rule)
    zeros = np.zeros((len(anchors), 4), dtype=np.float32)  # so that a box is its anchor
    with mock.patch.object(postprocess, "BLOCK", block):
        found = find(scores, zeros, np.array(anchors, dtype=np.float32), rule, levels=levels)
    dtypes = [values.dtype for values in (found.boxes, found.scores, found.labels)]
    assert dtypes == [np.dtype(np.float32), np.dtype(np.float32), np.dtype(np.int32)]
    boxes = [tuple(map(int, box)) for box in found.boxes.tolist()]
    assert list(zip(boxes, found.scores.tolist(), found.labels.tolist(), strict=True)) == expected


def test_only_the_best_of_each_level_or_class_are_candidates() -> None:
    # Two separate anchors on each of two levels; both classes have scores at each.
    anchors = np.array([[0, 0, 2, 2], [3, 0, 5, 2], [6, 0, 8, 2], [9, 0, 11, 2]], np.float32)
    scores = np.array([[0.9, 0.8], [0.7, 0.6], [0.5, 0.4], [0.3, 0.2]], np.float32)
    for per_level, expected in ((True, [0.9, 0.8, 0.5, 0.4]), (False, [0.9, 0.8, 0.7, 0.6])):
        rule = DetectionRule(
            pre_nms=2, pre_nms_per_level=per_level, maximum=2, maximum_per_class=True
        )
        found = find(scores, np.zeros_like(anchors), anchors, rule, levels=[3, 3, 4, 4])
        np.testing.assert_allclose(found.scores, expected, rtol=1e-6)


@pytest.mark.parametrize("per_level", [True, False])
def test_the_limit_of_candidates_leaves_room_for_the_maximum(per_level: bool) -> None:
    # 150 separate objects of one class on one level, and a limit of 100 candidates.
    corners = np.array([(13 * (n % 15), 19 * (n // 15)) for n in range(150)], np.float32)
    anchors = np.concatenate([corners, corners + np.array([10, 12], np.float32)], axis=1)
    scores = np.linspace(0.9, 0.1, 150, dtype=np.float32)[:, None]
    for maximum, count in ((300, 150), (120, 120), (50, 50)):
        rule = DetectionRule(pre_nms=100, pre_nms_per_level=per_level, maximum=maximum)
        found = find(scores, np.zeros_like(anchors), anchors, rule, image=(200, 200))
        np.testing.assert_array_equal(found.boxes, anchors[:count])


def test_suppression_is_in_stored_pixels() -> None:
    # The image is scaled to a tenth; its boxes have 10 x 10 px and 15 x 10 px. Including their
    # last pixels the IoU is 11 * 11 / (16 * 11) = 0.69, else 10 * 10 / (15 * 10) = 0.67.
    anchors = np.array([[0, 0, 1, 1], [0, 0, 1.5, 1]], np.float32)
    scores = np.array([[0.9], [0.8]], np.float32)
    for inclusive, count in ((True, 1), (False, 2)):
        rule = DetectionRule(iou=0.68, inclusive=inclusive)
        found = choose(scores, anchors, np.array([3, 3]), Placement(0.1, 0.1, 10, 10), rule)
        assert len(found) == count
        np.testing.assert_allclose(found.boxes[0], [0, 0, 10, 10], rtol=1e-6)


@pytest.mark.parametrize(("iou", "count"), [(0.5, 2), (0.49, 1)])
def test_an_iou_equal_to_the_threshold_does_not_suppress(iou: float, count: int) -> None:
    twins = np.array([[0, 0, 10, 10], [0, 0, 5, 10]], dtype=np.float32)  # IoU 50 / 100
    scores = np.full((2, 1), 0.9, dtype=np.float32)
    assert len(find(scores, np.zeros_like(twins), twins, DetectionRule(iou=iou))) == count


def test_boxes_are_decoded_and_clipped() -> None:
    anchors = anchor_grid([3, 4], (32, 48))
    target = np.tile(np.array([[20, 10, 60, 30]], dtype=np.float32), (len(anchors), 1))
    scores = np.zeros((len(anchors), 2), dtype=np.float32)
    scores[7, 1] = 0.9
    found = find(scores, encode(target, anchors), anchors, image=(32, 48))
    np.testing.assert_allclose(found.boxes, [[20, 10, 48, 30]], atol=1e-3)
    assert (len(found), found.labels.tolist()) == (1, [1])


def test_no_detections_have_arrays_of_the_right_shapes() -> None:
    anchors = anchor_grid([3], (16, 16))
    nothing = np.zeros((len(anchors), 3), dtype=np.float32)
    found = find(nothing, np.zeros_like(anchors), anchors)
    assert (len(found), found.boxes.shape, found.labels.shape) == (0, (0, 4), (0,))


def test_nan_gives_no_detections() -> None:
    anchors = anchor_grid([3], (16, 16))
    nan = np.full((len(anchors), 3), np.nan, dtype=np.float32)
    sure = np.ones_like(nan)
    assert len(find(nan, np.zeros_like(anchors), anchors)) == 0
    assert len(find(sure, np.full_like(anchors, np.nan), anchors)) == 0
