"""Matching looks at few anchors and finds what looking at all of them does."""

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


def everywhere(
    anchors: Boxes, boxes: Boxes, labels: Labels, rule: Matching, crowd: Boxes
) -> tuple[Labels, Boxes]:
    """Match over the whole table of overlaps, an anchor and a box at a time."""
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
    for anchor, found in claims.items():
        boxes_there = [box for _, box in found]
        most = max(overlap for overlap, _ in found)
        owner[anchor] = {
            "first": min(boxes_there),
            "last": max(boxes_there),
            "higher": min(box for overlap, box in found if overlap == most),
        }[rule.contested]
        positive[anchor] = True
    names = np.full(len(anchors), BACKGROUND, np.int32)
    names[reaches(best, np.float32(rule.negative))] = IGNORED
    if len(crowd):
        sides = anchors[:, 2:] - anchors[:, :2]
        names[intersection(anchors, crowd).max(axis=1) >= sides.prod(axis=1) / 2] = IGNORED
    deltas = np.zeros((len(anchors), 4), np.float32)
    for anchor in np.flatnonzero(positive):
        box = owner[anchor]
        names[anchor] = labels[box]
        deltas[anchor] = encode(boxes[box : box + 1], anchors[anchor : anchor + 1])[0]
    return names, deltas


def some_boxes(rng: np.random.Generator, count: int, side: float, whole: bool) -> Boxes:
    """Return boxes of all sizes and shapes; ``whole`` ones have many ties."""
    size = side * 2.0 ** rng.uniform(-6, 0.5, (count, 2))
    corner = rng.uniform(-0.1, 1, (count, 2)) * side
    boxes = np.concatenate([corner, corner + size], axis=1)
    if whole:
        boxes = np.round(boxes / 8) * 8
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 8)
    return boxes.astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(RULES, st.integers(0, 2**32 - 1), st.integers(0, 12), st.booleans(), st.booleans())
def test_it_finds_what_looking_at_all_anchors_does(
    rule: Matching, seed: int, count: int, whole: bool, drawn: bool
) -> None:
    rng = np.random.default_rng(seed)
    if drawn:  # anchors in no order at all, so that blocks are wide
        anchors = some_boxes(rng, int(rng.integers(1, 700)), 128, whole)
    else:
        anchors = anchor_grid((3, 4, 5, 6, 7), (128, 128), scale=float(rng.choice([2, 4])))
    boxes = some_boxes(rng, count, 128, whole)
    if whole and count:  # the same box twice: every overlap is a tie
        boxes = boxes[rng.integers(0, count, count)]
    crowd = some_boxes(rng, int(rng.integers(0, 3)), 128, whole)
    labels = rng.permutation(count).astype(np.int32)
    found = Matcher(anchors, rule)(boxes, labels, crowd)
    expected = everywhere(anchors, boxes, labels, rule, crowd)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("divided", [False, True])
def test_it_is_exact_for_anchors_of_the_published_size(divided: bool) -> None:
    anchors = anchor_grid((3, 4, 5, 6, 7), (640, 640), normalised=divided)
    assert len(anchors) == 76725
    matcher, rng = Matcher(anchors, Matching(0.5, 0.4)), np.random.default_rng(1)
    out = np.empty(76725, np.int32), np.empty((76725, 4), np.float32)
    for _ in range(3):
        boxes = some_boxes(rng, 12, 1.0 if divided else 640.0, False)
        labels = np.arange(12, dtype=np.int32)
        none = np.zeros((0, 4), np.float32)
        found = matcher(boxes, labels, none, out=out)
        assert found[0] is out[0]  # whatever it held before
        assert found[1] is out[1]
        expected = everywhere(anchors, boxes, labels, matcher.rule, none)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
