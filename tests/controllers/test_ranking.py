"""Rank correlations, regret, noise and intervals: against brute force and by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest

from controllers import ranking


def drawn(seed: int, ties: bool) -> tuple[Any, Any]:
    """Return two related scores, with many ties if wanted."""
    rng = np.random.default_rng(seed)
    one = rng.normal(size=int(rng.integers(3, 25)))
    other = one + rng.normal(size=len(one))
    return (np.round(one), np.round(other)) if ties else (one, other)


def kendall_by_pairs(one: Any, other: Any) -> float:
    """Kendall's tau-b by its definition, pair by pair."""
    pairs = list(combinations(range(len(one)), 2))
    signs = [(np.sign(one[i] - one[j]), np.sign(other[i] - other[j])) for i, j in pairs]
    apart = [sum(sign[side] != 0 for sign in signs) for side in (0, 1)]
    if not all(apart):
        return math.nan
    return float(sum(a * b for a, b in signs) / math.sqrt(apart[0] * apart[1]))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_kendall_is_that_of_its_definition(seed: int, ties: bool) -> None:
    one, other = drawn(seed, ties)
    expected = kendall_by_pairs(one, other)
    assert ranking.kendall(one, other) == pytest.approx(expected, nan_ok=True)
    assert ranking.kendall(other, one) == pytest.approx(expected, nan_ok=True)
    assert ranking.kendall(one, -other) == pytest.approx(-expected, nan_ok=True)
    assert ranking.kendall(np.exp(one), other) == pytest.approx(expected, nan_ok=True)


def test_kendall_by_hand() -> None:
    """Pairs of 1 2 2 3 and 1 3 2 2: 6.

    The first score tells 5 apart, all but (2, 2); so does the second. In the same order are (1, 2),
    (1, 2) and (1, 3); (2, 3) of the second genome is reversed; (2, 3) of the third is a tie.
    tau = (3 - 1) / sqrt(5 * 5) = 0.4.
    """
    one, other = np.array([1, 2, 2, 3]), np.array([1, 3, 2, 2])
    assert ranking.kendall(one, other) == pytest.approx(0.4)
    assert ranking.kendall(one, one) == pytest.approx(1)
    assert math.isnan(ranking.kendall(one, np.ones(4)))


def test_ranks_and_spearman_by_hand() -> None:
    """Ranks 1, 2.5, 2.5, 4 and 1, 4, 2.5, 2.5.

    Less their mean 2.5: -1.5, 0, 0, 1.5 and -1.5, 1.5, 0, 0. rho = 2.25 / 4.5 = 0.5.
    """
    one, other = np.array([1, 2, 2, 3]), np.array([1, 3, 2, 2])
    assert ranking.ranks(one).tolist() == [1, 2.5, 2.5, 4]
    assert ranking.ranks(other).tolist() == [1, 4, 2.5, 2.5]
    assert ranking.spearman(one, other) == pytest.approx(0.5)
    assert math.isnan(ranking.spearman(one, np.ones(4)))


@pytest.mark.parametrize("seed", range(10))
def test_spearman_without_ties_is_that_of_the_differences_of_ranks(seed: int) -> None:
    """1 - 6 sum(d^2) / (n (n^2 - 1)), exact."""
    one, other = drawn(seed, ties=False)
    n = len(one)
    ranked = [{v: rank for rank, v in enumerate(sorted(score), 1)} for score in (one, other)]
    squares = sum((ranked[0][a] - ranked[1][b]) ** 2 for a, b in zip(one, other, strict=True))
    expected = 1 - Fraction(6 * squares, n * (n * n - 1))
    assert ranking.spearman(one, other) == pytest.approx(float(expected))


def test_regret_by_hand() -> None:
    score, truth = np.array([3.0, 9, 5, 1]), np.array([0.4, 0.1, 0.3, 0.2])
    # By the score: genomes 1, 2, 0, 3 with the truths .1, .3, .4, .2.
    regrets = [ranking.regret(score, truth, k) for k in (1, 2, 3, 4, 9)]
    assert regrets == pytest.approx([0.3, 0.1, 0, 0, 0])


def test_the_top_is_a_share_rounded_up() -> None:
    truth = np.array([0.4, 0.1, 0.3, 0.2, 0.5])
    assert ranking.top(truth).tolist() == [4, 0]  # 5 / 4 = 1.25
    assert ranking.top(truth, 1).tolist() == [4, 0, 2, 3, 1]


def test_noise_is_pooled_over_genomes() -> None:
    values = np.array([[0.1, 0.3, 0.2], [0.5, 0.5, 0.8]])
    expected = math.sqrt(mean(stdev(row) ** 2 for row in values.tolist()))
    assert ranking.noise(values) == pytest.approx(expected)
    assert math.isnan(ranking.noise(values[:, :1]))


def test_the_interval_of_a_mean_is_about_that_of_the_normal_approximation() -> None:
    """1.96 sd / sqrt(n) on either side; 1000 resamples give its ends to about a tenth of that."""
    values = np.random.default_rng(1).normal(size=400)
    low, high = ranking.bootstrap(lambda drawn: float(values[drawn].mean()), 400)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.3 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.3 * half)
    assert (low, high) == ranking.bootstrap(lambda drawn: float(values[drawn].mean()), 400)


def test_samples_without_a_value_are_left_out_of_an_interval() -> None:
    """Two genomes: half of the samples have one of them twice, and no correlation."""
    score = np.array([1.0, 2.0])
    assert ranking.bootstrap(lambda i: ranking.kendall(score[i], score[i]), 2) == (1, 1)
    low, high = ranking.bootstrap(lambda i: math.nan, 2)
    assert math.isnan(low)
    assert math.isnan(high)


def test_each_seed_is_compared_with_its_truth_among_the_best_by_the_mean_truth() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.normal(size=(8, 2)), rng.normal(size=(8, 2))
    for share, count in ((1.0, 8), (0.25, 2), (0.5, 4)):
        best = sorted(range(8), key=lambda i: -truth[i].mean())[:count]
        expected = mean(ranking.regret(scores[best, s], truth[best, s], 1) for s in (0, 1))
        statistic = ranking.over_seeds(lambda s, t: ranking.regret(s, t, 1), scores, truth, share)
        assert statistic(np.arange(8)) == pytest.approx(expected)
    one = truth.mean(1)
    statistic = ranking.over_seeds(ranking.kendall, scores, one)
    expected = mean(ranking.kendall(scores[:, s], one) for s in (0, 1))
    assert statistic(np.arange(8)) == pytest.approx(expected)
