"""The race of a final: who is trained next, who leaves, and when it ends.

This module trains nothing. Whatever has been trained so far, :func:`standing` replays the race from
its first round. So a race that is resumed, or that several processes run, makes the same decisions.

Why the intervals are corrected as they are. The best contender can only be lost if its difference
to another contender, whichever leads at the time, lies below 0 by its interval at one of the looks.
There are ``contenders - 1`` others and ``seeds - FIRST + 1`` looks. Each interval is one-sided with
the error ``error / (others * looks)`` (Bonferroni). So, for differences that are normally
distributed, the best contender is lost in at most ``error`` of all races. If the best contender is
a starting point, this also bounds how often it is said to be behind the winner.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from controllers.student import half_width, quantile

FIRST = 3  # round after which contenders may leave, and before which none does

# Contender -> round, from 1 -> value of the training; None if it has failed.
Results: TypeAlias = Mapping[str, Mapping[int, float | None]]


@dataclass(frozen=True)
class Rules:
    """How long a race goes on.

    Attributes:
        seeds: rounds at most; ``FIRST`` or more.
        trainings: trainings at most, counting all that were made; None for no limit. A round that
            would exceed it is not begun.
        error: probability that the best contender is lost.
    """

    seeds: int = 8
    trainings: int | None = None
    error: float = 0.05

    def factor(self, contenders: int, rounds: int) -> float:
        """Return how many standard errors a difference must be below 0 after so many rounds.

        Args:
            contenders: number of contenders at the start.
            rounds: two or more.
        """
        comparisons = max(1, contenders - 1) * (self.seeds - FIRST + 1)
        return quantile(1 - self.error / comparisons, rounds - 1)


@dataclass(frozen=True)
class Standing:
    """Where a race is.

    Attributes:
        rounds: rounds that are complete.
        inside: contenders that are still in the race, by their mean over these rounds, best first;
            equal ones in the order in which they were given.
        left: contenders that have left, with the round after which they did.
        failed: contenders that have left because a training failed.
        baseline: the best starting point that is still in; None if there is none.
        behind: whether the baseline is clearly worse than the leader. Other contenders leave then.
        needed: trainings to make next, a contender and a round; they may be made in any order.
            Empty at the end of the race.
        most: number of trainings that may still be made.
    """

    rounds: int
    inside: tuple[str, ...]
    left: Mapping[str, int]
    failed: tuple[str, ...]
    baseline: str | None
    behind: bool
    needed: tuple[tuple[str, int], ...]
    most: int


def standing(
    contenders: Sequence[str], starts: Collection[str], results: Results, rules: Rules
) -> Standing:
    """Replay a race and return where it is.

    Args:
        contenders: names, in the order in which they are trained.
        starts: those of them that are starting points.
        results: all that were trained, also of others than these contenders: they count as
            trainings that were made.
        rules: how long the race goes on.
    """
    failed = tuple(name for name in contenders if None in results.get(name, {}).values())
    inside = [name for name in contenders if name not in failed]
    left: dict[str, int] = {}
    baseline, behind = None, False
    rounds = 0
    while inside and rounds < rules.seeds and not _missing(inside, rounds + 1, results):
        rounds += 1
        inside = _by_mean(inside, results, rounds)
        baseline = next((name for name in inside if name in starts), None)
        if rounds < FIRST:
            continue
        leader, *others = inside
        factor = rules.factor(len(contenders), rounds)
        worse = {name for name in others if is_below(results, name, leader, rounds, factor)}
        behind = baseline in worse
        left |= dict.fromkeys((name for name in others if name in worse - {baseline}), rounds)
        inside = [name for name in inside if name not in left]
        if len(inside) == 1 + behind:
            return Standing(rounds, tuple(inside), left, failed, baseline, behind, (), 0)
    needed, most = _next(inside, rounds + 1, results, rules)
    return Standing(rounds, tuple(inside), left, failed, baseline, behind, needed, most)


def _next(
    inside: Sequence[str], number: int, results: Results, rules: Rules
) -> tuple[tuple[tuple[str, int], ...], int]:
    """Return what to train in a round that is not complete, and the most that is left to train."""
    used = sum(map(len, results.values()))
    free = math.inf if rules.trainings is None else max(0, rules.trainings - used)
    needed: list[tuple[str, int]] = []
    # Nobody leaves before the third round, so several processes may begin all of these at once.
    for ahead in range(number, min(rules.seeds, max(number, FIRST)) + 1):
        more = _missing(inside, ahead, results)
        if len(needed) + len(more) > free:
            break
        needed += more
    left = sum(len(_missing(inside, later, results)) for later in range(number, rules.seeds + 1))
    return tuple(needed), int(min(left, free)) if needed else 0


def _missing(inside: Sequence[str], number: int, results: Results) -> list[tuple[str, int]]:
    return [(name, number) for name in inside if number not in results.get(name, {})]


def differences(results: Results, name: str, other: str, rounds: int) -> list[float]:
    """Return the differences of two contenders in each of the first rounds."""
    return [value(results, name, n) - value(results, other, n) for n in range(1, rounds + 1)]


def is_below(results: Results, name: str, other: str, rounds: int, factor: float) -> bool:
    """Return whether a contender is clearly worse than another.

    It is if the interval of their mean paired difference lies below 0.

    Args:
        factor: see :meth:`Rules.factor`.
    """
    pairs = differences(results, name, other, rounds)
    return float(np.mean(pairs)) + half_width(pairs, factor) < 0


def value(results: Results, name: str, number: int) -> float:
    """Return the value of a contender in a round, in which it must have one."""
    found = results[name][number]
    assert found is not None
    return found


def _by_mean(names: Sequence[str], results: Results, rounds: int) -> list[str]:
    means = {n: np.mean([value(results, n, r) for r in range(1, rounds + 1)]) for n in names}
    return sorted(names, key=lambda name: -means[name])
