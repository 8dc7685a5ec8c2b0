"""Matching against an oracle in exact fractions on small random boxes, and cases by hand."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nasfpn_runtime.batches.matching import BACKGROUND, IGNORED, match
from nasfpn_runtime.pictures.anchors import anchor_grid
from nasfpn_runtime.pictures.boxes import decode
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.recipe.settings import CONTESTED, Matching

Box = tuple[int, int, int, int]

DEFAULT = Matching()

# Integer pixels up to 16: an IoU is a fraction with a denominator up to 512. Different fractions,
# and thresholds, are different in float32.
side = st.integers(0, 15)
box_strategy = st.tuples(side, side, st.integers(1, 16), st.integers(1, 16)).map(
    lambda b: (b[0], b[1], min(16, b[0] + b[2]), min(16, b[1] + b[3]))
)


def array(rows: list[Box]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


def area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def shared(a: Box, b: Box) -> int:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


def overlap(a: Box, b: Box) -> Fraction:
    return Fraction(shared(a, b), area(a) + area(b) - shared(a, b))


def owners(
    anchors: list[Box],
    boxes: list[Box],
    crowd: list[Box],
    positive: Fraction,
    negative: Fraction,
    rule: Matching,
) -> list[int]:
    """Return the box of each anchor, or BACKGROUND or IGNORED, as the docstring of match says."""

    def reaches(value: Fraction, threshold: Fraction) -> bool:
        return value > threshold if rule.strict else value >= threshold

    result = []
    for anchor in anchors:
        highest = max((overlap(anchor, box) for box in boxes), default=Fraction(0))
        crowded = any(Fraction(shared(anchor, c), area(anchor)) >= Fraction(1, 2) for c in crowd)
        if boxes and reaches(highest, positive):
            result.append([overlap(anchor, box) for box in boxes].index(highest))
        else:
            result.append(IGNORED if reaches(highest, negative) or crowded else BACKGROUND)
    claims: dict[int, list[int]] = {}
    for number, box in enumerate(boxes):
        ranking = [overlap(anchor, box) for anchor in anchors]
        most = max(ranking)
        best = [index for index, value in enumerate(ranking) if value == most > 0]
        for index in best if rule.ties else best[:1]:
            claims.setdefault(index, []).append(number)
    for index, claimants in claims.items():
        ranking = [overlap(anchors[index], boxes[number]) for number in claimants]
        result[index] = {
            "higher": claimants[ranking.index(max(ranking))],
            "first": claimants[0],
            "last": claimants[-1],
        }[rule.contested]
    return result


@pytest.mark.slow
@given(
    st.lists(box_strategy, min_size=1, max_size=25),
    st.lists(box_strategy, max_size=6),
    st.lists(box_strategy, max_size=2),
    st.sampled_from([(5, 5), (5, 4), (3, 1)]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(CONTESTED),
)
def test_match_equals_the_oracle(
    anchors: list[Box],
    boxes: list[Box],
    crowd: list[Box],
    tenths: tuple[int, int],
    strict: bool,
    ties: bool,
    contested: str,
) -> None:
    rule = Matching(tenths[0] / 10, tenths[1] / 10, strict, ties, contested)
    expected = owners(anchors, boxes, crowd, Fraction(tenths[0], 10), Fraction(tenths[1], 10), rule)
    classes = np.arange(100, 100 + len(boxes), dtype=np.int32)  # a different class for each box
    labels, deltas = match(array(anchors), array(boxes), classes, rule, crowd=array(crowd))
    assert labels.dtype == np.int32
    assert deltas.dtype == np.float32
    assert labels.tolist() == [100 + e if e >= 0 else e for e in expected]
    positive = labels >= 0
    assert not deltas[~positive].any()
    np.testing.assert_allclose(
        decode(deltas[positive], array(anchors)[positive]),
        array([boxes[e] for e in expected if e >= 0]),
        atol=1e-4,
    )


def max_iou_assigner(anchors: list[Box], boxes: list[Box]) -> list[int]:
    """mmdetection 3.3.0 ``MaxIoUAssigner``, thresholds 0.5, its steps 1 to 4."""
    table = [[overlap(anchor, box) for anchor in anchors] for box in boxes]
    assigned = [BACKGROUND] * len(anchors)
    for index in range(len(anchors)):
        column = [row[index] for row in table]
        if column and max(column) >= Fraction(1, 2):
            assigned[index] = column.index(max(column))
    for number, row in enumerate(table):
        for index, value in enumerate(row):
            if value == max(row):
                assigned[index] = number
    return assigned


def zoo_encode(anchors: list[Box], boxes: list[Box]) -> list[int]:
    """The model zoo's ``retinanet_bboxes_encode``, where a claim counts as an IoU of 2."""
    scores = [Fraction(0)] * len(anchors)
    assigned = [BACKGROUND] * len(anchors)
    for number, box in enumerate(boxes):
        row = [overlap(anchor, box) for anchor in anchors]
        row[row.index(max(row))] = Fraction(2)
        for index, value in enumerate(row):
            if value > Fraction(1, 2) and value > scores[index]:
                scores[index], assigned[index] = value, number
    return assigned


@cache
def rule_of(dialect: str) -> Matching:
    return load_recipe(f"{dialect}-r50-7x256-640").matching


@pytest.mark.slow
@given(st.lists(box_strategy, min_size=1, max_size=25), st.lists(box_strategy, max_size=6))
def test_recipes_match_as_their_sources_do(anchors: list[Box], boxes: list[Box]) -> None:
    # In the sources a box that overlaps no anchor claims one or all of them; see ``match``.
    boxes = [box for box in boxes if any(shared(anchor, box) for anchor in anchors)]
    numbers = np.arange(len(boxes), dtype=np.int32)
    for name, reference in (("mmdet", max_iou_assigner), ("modelzoo", zoo_encode)):
        labels, _ = match(array(anchors), array(boxes), numbers, rule_of(name))
        # An IoU of exactly one half is background in the zoo and positive in mmdetection; no anchor
        # is ignored in either.
        assert labels.tolist() == reference(anchors, boxes)


ANCHORS: list[Box] = [(0, 0, 10, 10), (10, 0, 20, 10), (20, 0, 30, 10)]


def labels_of(boxes: list[Box], rule: Matching = DEFAULT) -> list[int]:
    numbers = np.arange(len(boxes), dtype=np.int32)
    labels, _ = match(array(ANCHORS), array(boxes), numbers, rule)
    return list(labels)


@pytest.mark.parametrize(
    ("width", "label", "strict_label"),  # of 10 columns: the IoU in tenths
    [(6, 0, 0), (5, 0, IGNORED), (4, IGNORED, BACKGROUND), (3, BACKGROUND, BACKGROUND)],
)
def test_strict_decides_on_which_side_of_a_threshold_an_equal_iou_is(
    width: int, label: int, strict_label: int
) -> None:
    box: Box = (0, 0, width, 10)
    anchors = array([(0, 0, 10, 10), box])  # the box claims the second anchor, which is equal to it
    for strict, expected in ((False, label), (True, strict_label)):
        rule = Matching(0.5, 0.4, strict)
        labels, _ = match(anchors, array([box]), np.zeros(1, np.int32), rule)
        assert labels.tolist() == [expected, 0]


def test_a_small_box_claims_its_best_anchor() -> None:
    # 4 px inside an anchor of 100 px: IoU 0.04.
    assert labels_of([(12, 2, 14, 4)]) == [BACKGROUND, 0, BACKGROUND]


def test_a_claim_overrides_a_box_with_a_higher_iou() -> None:
    # Both boxes claim anchor 1. Box 1 equals it (IoU 1), so box 0 (IoU 0.04) loses the claim.
    small: Box = (12, 2, 14, 4)
    assert labels_of([small, (10, 0, 20, 10)]) == [BACKGROUND, 1, BACKGROUND]
    # Box 1 overlaps anchors 0 and 1 equally (100 / 200) and claims the first. Only the small box
    # claims anchor 1, and gets it, although box 1 overlaps it more.
    assert labels_of([small, (0, 0, 20, 10)]) == [1, 0, BACKGROUND]


def test_equal_claims_go_to_the_first_box() -> None:
    assert labels_of([(10, 0, 20, 10), (10, 0, 20, 10)]) == [BACKGROUND, 0, BACKGROUND]


@pytest.mark.parametrize(("contested", "winner"), [("higher", 1), ("first", 0), ("last", 2)])
def test_a_contested_anchor(contested: str, winner: int) -> None:
    # All three boxes overlap the second anchor most, with IoUs of 0.04, 1 and 0.01.
    boxes: list[Box] = [(12, 2, 14, 4), (10, 0, 20, 10), (13, 3, 14, 4)]
    labels = labels_of(boxes, Matching(contested=contested))
    assert labels == [BACKGROUND, winner, BACKGROUND]


def test_all_ties_are_claimed_if_the_rule_says_so() -> None:
    # 2 x 4 px in each of the first two anchors: 8 / 108 of each.
    box: Box = (8, 3, 12, 7)
    assert labels_of([box]) == [0, BACKGROUND, BACKGROUND]
    assert labels_of([box], Matching(ties=True)) == [0, 0, BACKGROUND]


def test_a_box_away_from_all_anchors_claims_none() -> None:
    assert labels_of([(0, 50, 10, 60)]) == [BACKGROUND] * 3


def test_targets_on_a_canonical_grid_decode_to_their_boxes() -> None:
    anchors = anchor_grid(range(3, 8), (256, 256))
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 200, (30, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 56, (30, 2))], 1).astype(np.float32)
    labels, deltas = match(anchors, boxes, np.arange(30, dtype=np.int32), DEFAULT)
    claimed = labels >= 0
    assert claimed.any()
    np.testing.assert_allclose(
        decode(deltas[claimed], anchors[claimed]), boxes[labels[claimed]], atol=1e-3
    )
