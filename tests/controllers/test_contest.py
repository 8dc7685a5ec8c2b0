"""The race of a final: who is trained, who leaves, when it ends, and how often it errs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import binom

from controllers.contest import FIRST, Results, Rules, Standing, standing

Values = Callable[[str, int], float | None]
NAMES = ("s", "a", "b", "c", "d", "e")


def race(
    values: Values,
    rules: Rules,
    names: Sequence[str] = NAMES,
    starts: Sequence[str] = ("s",),
    order: int = 0,
    results: dict[str, dict[int, float | None]] | None = None,
) -> tuple[Standing, dict[str, dict[int, float | None]]]:
    """Race until the end, one training at a time; ``order`` says which of the needed ones."""
    results = {} if results is None else results
    while (state := standing(names, starts, results, rules)).needed:
        assert len(state.needed) <= state.most
        name, number = state.needed[order % len(state.needed)]
        assert number not in results.get(name, {})
        results.setdefault(name, {})[number] = values(name, number)
    return state, results


def noisy(means: dict[str, float], seed: int, noise: float = 1.0) -> Values:
    """Return values with noise of each contender, and as much of each round."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(len(NAMES), 100)) + rng.normal(size=100)
    return lambda name, number: float(
        means.get(name, 0.0) + noise * table[NAMES.index(name), number]
    )


def count(results: Results) -> int:
    return sum(map(len, results.values()))


def test_a_clearly_best_contender_wins_and_the_others_leave() -> None:
    values = noisy({"b": 10.0, "s": 5.0}, 0, noise=0.01)
    state, results = race(values, Rules())
    assert state.inside == ("b", "s")  # the baseline stays
    assert state.behind
    assert state.rounds == FIRST
    assert state.left == dict.fromkeys("acde", FIRST)
    assert count(results) == FIRST * len(NAMES)


def test_the_best_starting_point_is_the_baseline_and_the_other_ones_may_leave() -> None:
    means = {"a": 3.0, "b": 5.0, "s": 0.0}
    state, _ = race(noisy(means, 0, 0.01), Rules(), ("s", "a", "b"), ("s", "a"))
    assert state.inside == ("b", "a")
    assert (state.baseline, state.behind, dict(state.left)) == ("a", True, {"s": FIRST})
    state, _ = race(noisy({"s": 5.0}, 0, 0.01), Rules())
    assert state.inside == ("s",)  # a starting point that leads has nothing to be compared with
    assert (state.baseline, state.behind) == ("s", False)


def test_the_interval_by_which_a_contender_leaves() -> None:
    """Differences -1, -2, -3: mean -2, standard error 1 / sqrt(3).

    Two contenders and one look leave 0.05 to one interval: t with 2 degrees of freedom is
    sqrt(2) * 0.9 / sqrt(1 - 0.9 ** 2) = 2.920, so the bound is -2 + 2.920 / sqrt(3) = -0.31. With
    six looks, the error is 0.05 / 6, t is 7.65, and the bound above 0.
    """
    differences = {1: -1.0, 2: -2.0, 3: -3.0}
    results = {"a": dict(differences), "b": dict.fromkeys(differences, 0.0)}
    one_look = Rules(seeds=3)
    assert one_look.factor(2, 3) == pytest.approx(np.sqrt(2) * 0.9 / np.sqrt(1 - 0.81))
    assert standing(("a", "b"), (), results, one_look).inside == ("b",)
    eight = standing(("a", "b"), (), results, Rules(seeds=8))
    assert eight.inside == ("b", "a")
    assert eight.needed == (("b", 4), ("a", 4))
    assert eight.most == 10


@pytest.mark.parametrize("names", [("a",), ("s",)])
def test_a_single_contender_is_trained_three_times(names: Sequence[str]) -> None:
    state, results = race(noisy({}, 0), Rules(), names)
    assert (state.rounds, state.inside, count(results)) == (FIRST, names, FIRST)


@pytest.mark.parametrize("limit", [5, 6, 17, 18, 20, 30, 31])
def test_the_limit_of_trainings_is_kept_and_no_round_is_left_half_done(limit: int) -> None:
    state, results = race(noisy({}, 3), Rules(trainings=limit))
    assert count(results) <= limit
    assert state.rounds == min(limit // len(NAMES), 5)
    assert count(results) == state.rounds * len(NAMES)  # nobody leaves with these values
    assert not state.left
    assert state.most == 0


def test_a_failure_takes_a_contender_out_and_what_it_had_decided_is_undone() -> None:
    values = noisy({"e": 9.0}, 0, noise=0.01)
    state, results = race(values, Rules())
    assert state.inside == ("e", "s")
    results["e"][3] = None
    assert standing(NAMES, ("s",), results, Rules()).failed == ("e",)
    state, _ = race(values, Rules(), results=results)
    assert "e" not in (*state.inside, *state.left)
    assert state.rounds > FIRST or state.left  # the others are compared with each other
    state, _ = race(lambda name, number: None, Rules())
    assert (state.inside, state.rounds) == ((), 0)
    assert set(state.failed) == set(NAMES)


@pytest.mark.slow
def test_any_order_of_trainings_and_any_interruption_end_in_the_same_standing() -> None:
    for seed in range(30):
        values = noisy({"a": 1.0, "c": 1.5}, seed, 0.5)
        expected, made = race(values, Rules())
        for order in (1, 4, 7):
            state, results = race(values, Rules(), order=order)
            assert state == expected
            assert results == made
        # A search that went on has other contenders; what was trained is not trained again.
        other, _ = race(values, Rules(), NAMES[:4], results={k: dict(v) for k, v in made.items()})
        fresh, _ = race(values, Rules(), NAMES[:4])
        assert other == fresh


def too_often(errors: int, races: int, error: float = 0.05) -> bool:
    """Return whether errors are more than chance explains; it errs once in a million times."""
    return errors > binom.ppf(1 - 1e-6, races, error)


@pytest.mark.slow
def test_equal_contenders_are_seldom_told_apart() -> None:
    """The best is lost, or said to be ahead of an equal starting point, in 5% at most."""
    races = 400
    lost = ahead = 0
    for seed in range(races):
        state, _ = race(noisy({}, seed), Rules())
        lost += "c" in state.left  # all are the best; this one is as good as any
        ahead += state.behind
    assert not too_often(lost, races)
    assert not too_often(ahead, races)


@pytest.mark.slow
def test_without_the_correction_the_error_would_be_larger() -> None:
    """The same races with single intervals of 95% err more often than they say."""

    class Plain(Rules):
        def factor(self, contenders: int, rounds: int) -> float:
            return Rules(seeds=FIRST).factor(2, rounds)

    races = 200
    behind = sum(race(noisy({}, seed), Plain())[0].behind for seed in range(races))
    assert too_often(behind, races)


def test_a_better_contender_is_found_in_time() -> None:
    """Ahead by four standard deviations of a difference: it wins all races, and most are short."""
    lengths = []
    for seed in range(60):
        state, _ = race(noisy({"d": 4 * np.sqrt(2)}, seed), Rules())
        assert state.inside[0] == "d"
        lengths.append(state.rounds)
    assert np.mean(lengths) < 6.5
