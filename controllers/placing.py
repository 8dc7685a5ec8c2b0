"""The result of a final: means, intervals, and differences from the best starting point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from controllers.contest import Results, Rules, Standing, differences, value
from controllers.starts import Contender
from controllers.student import half_width

SEEDS = 1 << 64  # a seed has 64 bits


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean: mean of the values.
        half: half the width of the interval; None if there is one value only.
    """

    mean: float
    half: float | None

    @property
    def interval(self) -> list[float] | None:
        """The two ends of the interval."""
        return None if self.half is None else [self.mean - self.half, self.mean + self.half]


@dataclass(frozen=True)
class Place:
    """What a final has found about a contender.

    Attributes:
        contender: the contender.
        values: those of the rounds that it was in; each round has a seed.
        score: mean value over these rounds, with its 95% interval by Student's t; None if there
            are none.
        difference: its mean paired difference from the baseline over these rounds. The interval
            is that by which contenders leave (``contest.Rules.factor``), so it is wider than
            a single one. None for the baseline itself, and without one.
        left: whether it has left the race as clearly worse than the leader.
        failed: whether it has left because a training failed.
    """

    contender: Contender
    values: tuple[float, ...]
    score: Estimate | None
    difference: Estimate | None
    left: bool
    failed: bool

    @property
    def rounds(self) -> int:
        """The number of rounds that it was in."""
        return len(self.values)


@dataclass(frozen=True)
class Placing:
    """The result of a final.

    Attributes:
        places: one for each contender, the winner first.
        baseline: the best starting point; None if there is none that has not failed.
        ahead: whether the winner is clearly better than every starting point.
        level: contenders that are not clearly worse than the winner.
    """

    places: tuple[Place, ...]
    baseline: Place | None
    ahead: bool
    level: tuple[Place, ...]

    @property
    def winner(self) -> Place:
        """The place of the winner."""
        return self.places[0]


def places(found: Sequence[Contender], state: Standing, results: Results, rules: Rules) -> Placing:
    """Return the result of a race that has ended, or of one as far as it has come.

    Args:
        found: the contenders.
        state: where their race is, with one round or more that is complete.
        results: what they were trained to.
        rules: those of the race.
    """
    by_name = {contender.identity: contender for contender in found}

    def place(name: str) -> Place:
        failed = name in state.failed
        rounds = 0 if failed else state.left.get(name, state.rounds)
        values = tuple(value(results, name, number) for number in range(1, rounds + 1))
        difference = None
        if state.baseline not in (None, name) and rounds:
            assert state.baseline is not None
            pairs = differences(results, name, state.baseline, rounds)
            difference = _estimate(pairs, rules.factor(len(found), rounds) if rounds > 1 else None)
        score = _estimate(values) if values else None
        return Place(by_name[name], values, score, difference, name in state.left, failed)

    left = sorted(state.left, key=lambda name: -state.left[name])
    every = {name: place(name) for name in (*state.inside, *left, *state.failed)}
    behind = {*state.left, *([state.baseline] if state.behind else [])}
    starts = {name for name, each in every.items() if each.contender.start and not each.failed}
    return Placing(
        tuple(every.values()),
        every.get(state.baseline or ""),
        bool(starts) and starts <= behind,
        tuple(every[name] for name in state.inside[1:] if name not in behind),
    )


def conclusion(placing: Placing, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the study of the search and ``best.json`` say about the final, as JSON data.

    Args:
        arguments: see ``final.FinalSettings``.

    Returns:
        ``winner``, the id of its genome; ``mean``, ``interval`` and ``seeds`` of its trainings;
        ``recipe``, all settings; ``ahead``; and, if there is one, ``baseline`` with ``name``,
        ``genome_id`` and ``mean``, and the ``difference`` of the winner from it with its
        ``interval``, unless it is the winner itself.
    """
    winner, baseline = placing.winner, placing.baseline
    assert winner.score is not None
    about: dict[str, Any] = {
        "winner": winner.contender.identity,
        "name": winner.contender.name,
        "mean": winner.score.mean,
        "interval": winner.score.interval,
        "seeds": [seed_of(arguments, number) for number in range(1, winner.rounds + 1)],
        "recipe": dict(arguments["recipe"]),
        "ahead": placing.ahead,
    }
    if baseline is not None and baseline.score is not None:
        about["baseline"] = {
            "name": baseline.contender.name,
            "genome_id": baseline.contender.identity,
            "mean": baseline.score.mean,
        }
        if winner.difference is not None:
            about["baseline"]["difference"] = winner.difference.mean
            about["baseline"]["interval"] = winner.difference.interval
    return about


def seed_of(arguments: Mapping[str, Any], number: int) -> int:
    """Return the seed of a round: none that the search has used."""
    return int(arguments["seed"] + number) % SEEDS


def _estimate(values: Sequence[float], factor: float | None = None) -> Estimate:
    half = half_width(values, factor) if len(values) > 1 else None
    return Estimate(float(np.mean(values)), half)
