"""Matching: an oracle in exact fractions over random small boxes, and cases by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nasfpn_runtime.anchors import anchor_grid
from nasfpn_runtime.boxes import decode
from nasfpn_runtime.matching import BACKGROUND, IGNORED, match

Box = tuple[int, int, int, int]

# Whole pixels up to 16: an IoU is a fraction with a denominator up to 512, which float32
# neither confuses with another one nor with a threshold.
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
    force: bool,
) -> list[int]:
    """Return per anchor its box, or BACKGROUND or IGNORED: the docstring, word by word."""
    result = []
    for anchor in anchors:
        best = max((overlap(anchor, box) for box in boxes), default=Fraction(0))
        crowded = any(Fraction(shared(anchor, c), area(anchor)) >= Fraction(1, 2) for c in crowd)
        if boxes and best >= positive:
            result.append([overlap(anchor, box) for box in boxes].index(best))
        else:
            result.append(IGNORED if best >= negative or crowded else BACKGROUND)
    if force:
        claims: dict[int, list[int]] = {}
        for number, box in enumerate(boxes):
            ranking = [overlap(anchor, box) for anchor in anchors]
            if max(ranking) > 0:
                claims.setdefault(ranking.index(max(ranking)), []).append(number)
        for place, claimants in claims.items():
            ranking = [overlap(anchors[place], boxes[number]) for number in claimants]
            result[place] = claimants[ranking.index(max(ranking))]
    return result


@given(
    st.lists(box_strategy, min_size=1, max_size=25),
    st.lists(box_strategy, max_size=6),
    st.lists(box_strategy, max_size=2),
    st.sampled_from([(5, 5), (5, 4), (3, 1)]),
    st.booleans(),
)
def test_match_is_the_oracle(
    anchors: list[Box], boxes: list[Box], crowd: list[Box], tenths: tuple[int, int], force: bool
) -> None:
    expected = owners(
        anchors, boxes, crowd, Fraction(tenths[0], 10), Fraction(tenths[1], 10), force
    )
    classes = np.arange(100, 100 + len(boxes), dtype=np.int32)  # tells which box it was
    labels, deltas = match(
        array(anchors),
        array(boxes),
        classes,
        positive=tenths[0] / 10,
        negative=tenths[1] / 10,
        force=force,
        crowd=array(crowd),
    )
    assert labels.dtype == np.int32
    assert deltas.dtype == np.float32
    assert labels.tolist() == [100 + e if e >= 0 else e for e in expected]
    found = labels >= 0
    assert not deltas[~found].any()
    np.testing.assert_allclose(
        decode(deltas[found], array(anchors)[found]),
        array([boxes[e] for e in expected if e >= 0]),
        atol=1e-4,
    )


ANCHORS: list[Box] = [(0, 0, 10, 10), (10, 0, 20, 10), (20, 0, 30, 10)]


def labels_of(boxes: list[Box], force: bool = True) -> list[int]:
    numbers = np.arange(len(boxes), dtype=np.int32)
    labels, _ = match(array(ANCHORS), array(boxes), numbers, force=force)
    return list(labels)


@pytest.mark.parametrize(
    ("width", "label"),  # of 10 columns: the IoU in tenths
    [(6, 0), (5, 0), (4, IGNORED), (3, BACKGROUND)],
)
def test_thresholds_belong_to_the_better_side(width: int, label: int) -> None:
    box: Box = (0, 0, width, 10)
    number = np.zeros(1, dtype=np.int32)
    labels, _ = match(array(ANCHORS), array([box]), number, positive=0.5, negative=0.4, force=False)
    assert labels.tolist() == [label, BACKGROUND, BACKGROUND]


def test_a_small_box_claims_its_best_anchor() -> None:
    # 4 px in an anchor of 100 px: IoU 0.04.
    small: Box = (12, 2, 14, 4)
    assert labels_of([small]) == [BACKGROUND, 0, BACKGROUND]
    assert labels_of([small], force=False) == [BACKGROUND, BACKGROUND, BACKGROUND]


def test_a_claim_takes_an_anchor_from_the_box_it_overlaps_more() -> None:
    # Box 1 is the anchor (IoU 1) but has a twin to claim: box 0 (0.04) loses the claim to
    # it, while alone it would win.
    small: Box = (12, 2, 14, 4)
    assert labels_of([small, (10, 0, 20, 10)]) == [BACKGROUND, 1, BACKGROUND]
    # Box 1 overlaps anchors 0 and 1 alike (100 / 200) and claims the first; anchor 1 is
    # claimed by the small box alone, though box 1 overlaps it more.
    assert labels_of([small, (0, 0, 20, 10)]) == [1, 0, BACKGROUND]


def test_equal_claims_go_to_the_first_box() -> None:
    assert labels_of([(10, 0, 20, 10), (10, 0, 20, 10)]) == [BACKGROUND, 0, BACKGROUND]


def test_a_box_away_from_all_anchors_claims_none() -> None:
    assert labels_of([(0, 50, 10, 60)]) == [BACKGROUND] * 3


def test_targets_on_a_canonical_grid_decode_to_their_boxes() -> None:
    anchors = anchor_grid(range(3, 8), (256, 256))
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 200, (30, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 56, (30, 2))], 1).astype(np.float32)
    labels, deltas = match(anchors, boxes, np.arange(30, dtype=np.int32))
    claimed = labels >= 0
    assert claimed.any()
    np.testing.assert_allclose(
        decode(deltas[claimed], anchors[claimed]), boxes[labels[claimed]], atol=1e-3
    )


def test_thresholds_are_in_order() -> None:
    with pytest.raises(ValueError, match=r"at most positive \(0.5\), got 0.6"):
        match(array(ANCHORS), array([]), np.zeros(0, np.int32), negative=0.6)
