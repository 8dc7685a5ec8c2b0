"""The matcher skips most anchors; its result equals that of comparing all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nasfpn_runtime.batches.matching import BACKGROUND, IGNORED, Matcher
from nasfpn_runtime.pictures.anchors import anchor_grid
from nasfpn_runtime.pictures.boxes import encode, intersection, iou
from nasfpn_runtime.recipe.settings import CONTESTED, Matching

Boxes = NDArray[np.float32]
Labels = NDArray[np.int32]

RULES = st.builds(
    Matching,
    positive=st.sampled_from([0.3, 0.5, 0.7]),
    negative=st.sampled_from([0.1, 0.3]),
    strict=st.booleans(),
    ties=st.booleans(),
    contested=st.sampled_from(CONTESTED),
)


def match_by_table(
    anchors: Boxes, boxes: Boxes, labels: Labels, rule: Matching, crowd: Boxes
) -> tuple[Labels, Boxes]:
    """Match by the complete table of IoUs, one anchor and one box at a time."""
    table = iou(anchors, boxes)
    best = table.max(axis=1, initial=0)
    reaches = np.greater if rule.strict else np.greater_equal
    owner = [int(row.argmax()) if len(row) else -1 for row in table]
    positive = reaches(best, np.float32(rule.positive)).tolist()
    claims: dict[int, list[tuple[float, int]]] = {}
    for box, column in enumerate(table.T):
        if column.max() > 0:
            ties = np.flatnonzero(column == column.max()).tolist()
            for anchor in ties if rule.ties else ties[:1]:
                claims.setdefault(anchor, []).append((float(column.max()), box))
    for anchor, claimants in claims.items():
        claiming_boxes = [box for _, box in claimants]
        most = max(overlap for overlap, _ in claimants)
        owner[anchor] = {
            "first": min(claiming_boxes),
            "last": max(claiming_boxes),
            "higher": min(box for overlap, box in claimants if overlap == most),
        }[rule.contested]
        positive[anchor] = True
    classes = np.full(len(anchors), BACKGROUND, np.int32)
    classes[reaches(best, np.float32(rule.negative))] = IGNORED
    if len(crowd):
        sides = anchors[:, 2:] - anchors[:, :2]
        classes[intersection(anchors, crowd).max(axis=1) >= sides.prod(axis=1) / 2] = IGNORED
    deltas = np.zeros((len(anchors), 4), np.float32)
    for anchor in np.flatnonzero(positive):
        box = owner[anchor]
        classes[anchor] = labels[box]
        deltas[anchor] = encode(boxes[box : box + 1], anchors[anchor : anchor + 1])[0]
    return classes, deltas


def some_boxes(rng: np.random.Generator, count: int, side: float, rounded: bool) -> Boxes:
    """Return boxes of all sizes and shapes; ``rounded`` ones have many ties."""
    size = side * 2.0 ** rng.uniform(-6, 0.5, (count, 2))
    corner = rng.uniform(-0.1, 1, (count, 2)) * side
    boxes = np.concatenate([corner, corner + size], axis=1)
    if rounded:
        boxes = np.round(boxes / 8) * 8
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 8)
    return boxes.astype(np.float32)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(RULES, st.integers(0, 2**32 - 1), st.integers(0, 12), st.booleans(), st.booleans())
def test_it_equals_matching_by_the_complete_table(
    rule: Matching, seed: int, count: int, rounded: bool, drawn: bool
) -> None:
    rng = np.random.default_rng(seed)
    if drawn:  # anchors in random order, so that the enclosing rectangles are large
        anchors = some_boxes(rng, int(rng.integers(1, 700)), 128, rounded)
    else:
        anchors = anchor_grid((3, 4, 5, 6, 7), (128, 128), scale=float(rng.choice([2, 4])))
    boxes = some_boxes(rng, count, 128, rounded)
    if rounded and count:  # the same box twice: every overlap is a tie
        boxes = boxes[rng.integers(0, count, count)]
    crowd = some_boxes(rng, int(rng.integers(0, 3)), 128, rounded)
    labels = rng.permutation(count).astype(np.int32)
    ours = Matcher(anchors, rule)(boxes, labels, crowd)
    expected = match_by_table(anchors, boxes, labels, rule, crowd)
    for our_array, array in zip(ours, expected, strict=True):
        assert our_array.dtype == array.dtype
        np.testing.assert_array_equal(our_array, array)


@pytest.mark.parametrize("normalised", [False, True])
def test_it_is_exact_for_anchors_of_the_published_size(normalised: bool) -> None:
    anchors = anchor_grid((3, 4, 5, 6, 7), (640, 640), normalised=normalised)
    assert len(anchors) == 76725
    matcher, rng = Matcher(anchors, Matching(0.5, 0.4)), np.random.default_rng(1)
    out = np.empty(76725, np.int32), np.empty((76725, 4), np.float32)
    for _ in range(3):
        boxes = some_boxes(rng, 12, 1.0 if normalised else 640.0, False)
        labels = np.arange(12, dtype=np.int32)
        none = np.zeros((0, 4), np.float32)
        ours = matcher(boxes, labels, none, out=out)  # out still holds the last result
        assert ours[0] is out[0]
        assert ours[1] is out[1]
        expected = match_by_table(anchors, boxes, labels, matcher.rule, none)
        for our_array, array in zip(ours, expected, strict=True):
            np.testing.assert_array_equal(our_array, array)
