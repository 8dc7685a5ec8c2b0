"""The cheapest ladder for a budget: plays against brute force, and figures derived by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

from controllers.fidelity import TARGET
from controllers.fidelity_table import Measured
from controllers.ladder_choice import (
    PLAYS,
    Choice,
    Game,
    game,
    going_on,
    recommended,
)

FOUR = np.array([[0.1], [0.2], [0.3], [0.4]])  # a table without noise


def make(
    ap: dict[str, Any], seconds: dict[str, float], budget: float, seeds: int = 2, **more: Any
) -> Game:
    """Return a game without noise: ``ap`` has the AP of each genome, the same for each seed."""
    scores = {name: np.repeat(np.reshape(each, (-1, 1)), seeds, 1) for name, each in ap.items()}
    times = {name: np.full_like(scores[name], each, dtype=float) for name, each in seconds.items()}
    return Game(scores, times, budget, **{"finalists": 1, "rounds": 1, **more})


def by_hand(
    played: Game, rungs: Sequence[str], factor: int, draws: Sequence[tuple[int, int]]
) -> float:
    """Return what a play finds: an independent, slow way to play."""
    seen: dict[str, list[float]] = {name: [] for name in rungs}
    left = played.budget - played.finalists * played.rounds * played.seconds[TARGET].mean()
    left -= max(played.once.get(name, 0) for name in rungs)
    ranked: list[tuple[int, float, int, int, int]] = []
    for number, (row, seed) in enumerate(draws):
        cost, height = 0.0, -1
        for name in rungs:
            height += 1
            cost += played.seconds[name][row, seed]
            value = played.ap[name][row, seed]
            better = sum(other > value for other in seen[name])
            seen[name].append(value)
            if better >= max(1, len(seen[name]) // factor):
                break
        if cost > left + 1e-9:
            break
        left -= cost
        ranked.append((-height, -value, number, row, seed))
    contenders: list[tuple[int, int]] = []
    for *_, row, seed in sorted(ranked):
        if row not in [known for known, _ in contenders]:
            contenders.append((row, seed))
    contenders = contenders[: played.finalists]
    if not contenders:
        return math.nan
    row, seed = max(contenders, key=lambda each: played.ap[TARGET][each])  # the first of equals
    others = np.delete(played.ap[TARGET][row], seed)
    return float(others.mean()) if len(others) else float(played.ap[TARGET][row, seed])


@pytest.mark.parametrize("factor", [2, 3])
def test_a_play_is_that_of_brute_force(factor: int) -> None:
    """Random tables with ties, all orders of ladders, budgets that end at any draw."""
    rng = np.random.default_rng(factor)
    for _ in range(60):
        shape = (int(rng.integers(2, 6)), int(rng.integers(1, 4)))
        names = [TARGET, "a", "b"]
        scores = {name: rng.integers(4, size=shape) / 4 for name in names}
        times = {name: rng.uniform(1, 3, shape) for name in names}
        final = 2 * 3 * times[TARGET].mean()
        budget = final + rng.uniform(0, 40)
        played = Game(scores, times, budget, {"a": 2.0}, finalists=2, rounds=3)
        rows, seeds = rng.integers(shape[0], size=20), rng.integers(shape[1], size=20)
        for rungs in (("a",), ("b",), ("a", "b"), ("b", "a", TARGET)):
            found, count, seconds = played.play(rungs, factor, rows, seeds)
            expected = by_hand(played, rungs, factor, list(zip(rows, seeds, strict=True)))
            assert found == pytest.approx(expected, nan_ok=True)
            assert seconds <= played.left(rungs) or not count
            assert count <= len(rows)


def test_who_goes_on_is_a_count_of_better_values() -> None:
    rng = np.random.default_rng(0)
    for factor in (2, 3, 4):
        values = rng.integers(10, size=50) / 10
        expected = [
            sum(other > value for other in values[:i]) < max(1, (i + 1) // factor)
            for i, value in enumerate(values)
        ]
        assert going_on(values, factor).tolist() == expected


def expectation(played: Game, rungs: Sequence[str], factor: int, draws: int) -> float:
    """Return the exact mean AP over all sequences of draws, which are equally likely."""
    genomes, seeds = played.truth.shape
    every = list(product(product(range(genomes), range(seeds)), repeat=draws))
    return float(np.mean([by_hand(played, rungs, factor, each) for each in every]))


def test_the_mean_of_the_plays_is_the_expectation() -> None:
    """A noisy table and budgets for three draws; fails by chance in 1 of 10,000 tables."""
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.1, 0.4, (4, 1))
    scores = {TARGET: truth + rng.normal(0, 0.02, (4, 2)), "a": truth + rng.normal(0, 0.1, (4, 2))}
    times = {TARGET: np.full((4, 2), 2.0), "a": np.full((4, 2), 1.0)}
    for rungs, budget in ((("a",), 2 + 3.5), ((TARGET,), 2 + 6.5)):
        played = Game(scores, times, budget, finalists=1, rounds=1)
        (choice,) = (c for c in played.choices() if c.rungs == rungs)
        assert choice.genomes == 3
        error = choice.aps.std(ddof=1) / np.sqrt(PLAYS)
        assert abs(choice.ap - expectation(played, rungs, 2, 3)) < 4 * error


def test_figures_by_hand() -> None:
    """Two of four genomes are drawn: 16 equally likely pairs.

    A perfect rung finds the better one: (0.1 * 1 + 0.2 * 3 + 0.3 * 5 + 0.4 * 7) / 16 = 0.3125. A
    rung that says nothing finds the first one: 0.25. One that is the reverse finds the worse one:
    (0.1 * 7 + 0.2 * 5 + 0.3 * 3 + 0.4 * 1) / 16 = 0.1875.
    """
    rungs = {"perfect": FOUR, "useless": 0 * FOUR, "reverse": -FOUR, TARGET: FOUR}
    played = make(rungs, dict.fromkeys(rungs, 10.0), 10 + 2 * 10)
    for name, expected in (("perfect", 0.3125), ("useless", 0.25), ("reverse", 0.1875)):
        assert expectation(played, (name,), 2, 2) == pytest.approx(expected)
        (choice,) = (c for c in played.choices() if c.rungs == (name,))
        assert choice.genomes == 2
        assert choice.seconds == 10
        assert choice.ap == pytest.approx(expected, abs=4 * 0.112 / math.sqrt(PLAYS))
    assert played.final == 10


def test_a_free_perfect_rung_is_the_whole_ladder() -> None:
    """It finds the best genome for nothing; rungs after it cost seconds and add nothing."""
    rungs = {"free": FOUR, "useless": 0 * FOUR, TARGET: FOUR}
    played = make(rungs, {"free": 0.0, "useless": 5.0, TARGET: 10.0}, 10 + 60)
    choice = recommended(played.choices())
    assert (choice.rungs, choice.seconds) == (("free",), 0)
    assert choice.ap == pytest.approx(0.4)


def test_a_useless_rung_is_left_out() -> None:
    """With it, seconds are lost, or genomes are stopped at random before the rung that tells."""
    rng = np.random.default_rng(3)
    many = rng.uniform(0, 0.4, 30)
    rungs = {"useless": rng.permutation(many), "good": many, TARGET: many}
    played = make(rungs, {"useless": 4.0, "good": 5.0, TARGET: 50.0}, 50 + 60)
    assert recommended(played.choices()).rungs == ("good",)


def test_a_cheap_noisy_rung_comes_before_a_dear_exact_one() -> None:
    """The noisy rung does not tell the best quarter of the genomes apart.

    In 40 s, alone it finds any of these: their mean is 0.34. The exact rung finds the best of 10
    draws; both together find the best of those of about 16 draws that are in the quarter. Brute
    force plays each ladder to the same end.
    """
    many = np.arange(20) / 50
    rungs = {"noisy": np.minimum(many, 0.3), "exact": many, TARGET: many}
    played = make(rungs, {"noisy": 1.0, "exact": 4.0, TARGET: 8.0}, 8 + 40)
    choices = {(c.rungs, c.factor): c for c in played.choices()}
    draws = [
        list(zip(*(part.tolist() for part in played.draws(n)), strict=True)) for n in range(PLAYS)
    ]
    for (rungs_of, factor), choice in choices.items():
        slow = [by_hand(played, rungs_of, factor, each) for each in draws]
        assert choice.aps == pytest.approx(slow)
    best = max(choices.values(), key=lambda choice: choice.ap)
    assert best.rungs == recommended(played.choices()).rungs == ("noisy", "exact")
    error = 4 * 0.03 / math.sqrt(PLAYS)
    assert choices[("noisy",), 2].ap == pytest.approx(0.34, abs=error)
    exact = sum(1 - (k / 20) ** 10 for k in range(1, 20)) / 50  # the mean greatest of 10 draws
    assert choices[("exact",), 2].ap == pytest.approx(exact, abs=error)


def test_level_ladders_are_decided_by_their_seconds() -> None:
    """The standard error of 200 differences with a standard deviation of 0.01 is 0.0007."""
    aps = np.linspace(0.1, 0.2, PLAYS)
    noise = np.random.default_rng(0).normal(0, 1, PLAYS)
    noise = 0.01 * (noise - noise.mean()) / noise.std(ddof=1)
    dear, cheap = Choice(("a",), 2, aps, 9, 20.0), Choice(("b",), 2, aps, 9, 5.0)
    level = Choice(("c",), 2, aps - 0.0013 + noise, 9, 4.0)
    worse = Choice(("d",), 2, aps - 0.0016 + noise, 9, 1.0)
    assert recommended([dear, cheap]) is cheap
    assert recommended([dear, cheap, worse]) is cheap
    assert recommended([dear, cheap, level, worse]) is level
    assert recommended([worse]) is worse


def test_a_reference_is_paid_once_and_a_final_always() -> None:
    rungs = {"warm": FOUR, TARGET: FOUR}
    seconds = {"warm": 1.0, TARGET: 10.0}
    played = make(rungs, seconds, 100, once={"warm": 30.0}, finalists=2, rounds=3)
    assert played.final == 60
    assert (played.left(("warm",)), played.left((TARGET,))) == (10, 40)
    assert played.left(("warm", TARGET)) == 10
    assert {c.rungs: c.genomes for c in played.choices()}[("warm",)] == 10
    small = make(rungs, seconds, 89, once={"warm": 30.0}, finalists=2, rounds=3)
    assert {c.rungs for c in small.choices()} == {(TARGET,)}
    assert make(rungs, seconds, 60.5, finalists=2, rounds=3).choices() == []


def test_the_interval_is_of_the_choice_of_genomes() -> None:
    """A table of equal genomes has none; otherwise it holds the mean."""
    for values, certain in ((FOUR, False), (0 * FOUR + 0.25, True)):
        played = make({"a": values, TARGET: values}, {"a": 1.0, TARGET: 1.0}, 1 + 3)
        (choice, *_) = played.choices()
        low, high = played.interval(choice)
        assert low <= choice.ap <= high
        assert (low == high) == certain


def test_genomes_without_all_scores_are_left_out() -> None:
    ap = np.array([[0.1, 0.2], [math.nan, 0.3], [0.3, 0.4]])
    rung = Measured("r", ap, np.ones((3, 2)))
    target = Measured("t", np.nan_to_num(ap), np.ones((3, 2)))
    played = game({TARGET: target, "a": rung}, 100, {})
    assert played.ap["a"].tolist() == [[0.1, 0.2], [0.3, 0.4]]
    assert played.truth == pytest.approx(np.array([[0.2, 0.1], [0.4, 0.3]]))


def test_a_target_measured_once_is_no_rung() -> None:
    """Its only training would be compared with itself."""
    one = make({"a": FOUR, TARGET: FOUR}, {"a": 1.0, TARGET: 1.0}, 10, seeds=1)
    assert {rungs for rungs, _ in one.ladders()} == {("a",)}
    two = make({"a": FOUR, TARGET: FOUR}, {"a": 1.0, TARGET: 1.0}, 10)
    assert {rungs for rungs, _ in two.ladders()} == {("a",), (TARGET,), ("a", TARGET)}
