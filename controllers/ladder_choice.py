"""Which ladder finds the best genome within a budget: searches played on measured trainings.

A study of rungs (``fidelity.py``) has trained some genomes on every rung and by the target recipe.
A search on a ladder is played with these scores: genomes are drawn with replacement, each with one
of the seeds, and climb the ladder by the rule of ``halving.py``, until the budget is used. Then the
best genomes are trained by the target recipe. Their cost is taken from the budget beforehand.

What a play says is limited by its table. Random draws stand in for a controller. A play finds
nothing better than the best genome that was measured, so with a large budget many ladders are
level. The final of a play picks by one training, so it is worse than a real one.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, pairwise

import numpy as np

from controllers.fidelity import TARGET
from controllers.fidelity_table import Measured, complete, others
from controllers.ranking import Array

FACTORS = (2, 3, 4)
MOST_RUNGS = 3  # of a ladder: with more, too few genomes reach the last one
DRAWS = 500  # genomes of a play, at most
PLAYS, TABLES = 200, 100  # plays of a ladder; tables drawn anew for its interval
SAME = 2.0  # standard errors of a mean difference below which two ladders are level


@dataclass(frozen=True)
class Choice:
    """A ladder, and what its plays gave.

    Attributes:
        rungs: names, the cheapest first.
        factor: one of so many genomes goes on.
        aps: (PLAYS,) AP of the genome that each play has found.
        genomes: mean number of genomes in a play.
        seconds: mean seconds of a genome, on all rungs that it was trained on.
    """

    rungs: tuple[str, ...]
    factor: int
    aps: Array
    genomes: float
    seconds: float

    @property
    def ap(self) -> float:
        """The mean AP of what is found."""
        return float(self.aps.mean())


@dataclass(frozen=True)
class Game:
    """Measured scores, and the budget of a search.

    Attributes:
        ap, seconds: (genomes, seeds) of each rung, by name, with the target.
        budget: seconds of the whole search.
        once: seconds that a ladder with this rung costs besides, once, such as a reference.
        finalists: genomes in the final.
        rounds: trainings of each of them.
    """

    ap: Mapping[str, Array]
    seconds: Mapping[str, Array]
    budget: float
    once: Mapping[str, float] = field(default_factory=dict)
    finalists: int = 5
    rounds: int = 3

    @cached_property
    def truth(self) -> Array:
        """(genomes, seeds): what a genome that was drawn with a seed is worth.

        It is the mean AP by the target recipe with the other seeds: the luck of the seed by which
        it was chosen is not in it. With one seed, it is that training.
        """
        target = self.ap[TARGET]
        return others(target) if target.shape[1] > 1 else target

    @property
    def final(self) -> float:
        """The seconds of the final."""
        return self.finalists * self.rounds * float(self.seconds[TARGET].mean())

    def left(self, rungs: Sequence[str]) -> float:
        """Return the seconds for the genomes of a search; negative if there are none."""
        return self.budget - self.final - max(self.once.get(name, 0.0) for name in rungs)

    def play(
        self, rungs: Sequence[str], factor: int, rows: Array, seeds: Array
    ) -> tuple[float, int, float]:
        """Play a search; return the AP of what it finds, its genomes, and their seconds.

        Args:
            rungs: names, the cheapest first.
            factor: one of so many goes on.
            rows: (draws,) indices of the genomes, in their order.
            seeds: (draws,) indices of their seeds.

        Returns:
            AP (NaN if the budget is too small for one genome), number of genomes, and seconds.
        """
        costs = self.seconds[rungs[0]][rows, seeds].copy()
        most = int(np.searchsorted(np.cumsum(costs), self.left(rungs), side="right"))
        rows, seeds, costs = rows[:most], seeds[:most], costs[:most]
        reached, climbers = np.zeros(most, int), np.arange(most)
        values = self.ap[rungs[0]][rows, seeds].copy()
        for _, rung in pairwise(rungs):
            climbers = climbers[going_on(values[climbers], factor)]
            where = rows[climbers], seeds[climbers]
            reached[climbers] += 1
            values[climbers] = self.ap[rung][where]
            costs[climbers] += self.seconds[rung][where]
        totals = np.cumsum(costs)
        count = int(np.searchsorted(totals, self.left(rungs), side="right"))
        if not count:
            return math.nan, 0, 0.0
        order = np.lexsort((np.arange(count), -values[:count], -reached[:count]))
        finalists: dict[int, int] = {}  # draws by genome, which is in the final once
        for draw in order.tolist():
            finalists.setdefault(int(rows[draw]), draw)
        picks = list(finalists.values())[: self.finalists]
        final = self.ap[TARGET][rows[picks], seeds[picks]]
        pick = picks[int(final.argmax())]
        return float(self.truth[rows[pick], seeds[pick]]), count, float(totals[count - 1])

    def ladders(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Yield the ladders to compare: rungs in the order of their seconds, and factors.

        The target may be the last rung, unless it was measured with one seed only.
        """
        mean = {name: float(seconds.mean()) for name, seconds in self.seconds.items()}
        names = sorted(
            (name for name in mean if name != TARGET or self.ap[TARGET].shape[1] > 1),
            key=lambda name: (mean[name], name == TARGET),
        )
        for count in range(1, min(MOST_RUNGS, len(names)) + 1):
            for rungs in combinations(names, count):
                yield from ((rungs, factor) for factor in (FACTORS if count > 1 else FACTORS[:1]))

    def draws(self, number: int, table: Array | None = None) -> tuple[Array, Array]:
        """Return the genomes and seeds of a play: the same ones for each ladder.

        Args:
            number: of the play.
            table: indices of the genomes to draw from; all by default.
        """
        rng = np.random.default_rng((0, number))
        genomes, seeds = self.truth.shape
        rows = rng.integers(genomes, size=DRAWS)
        return rows if table is None else table[rows], rng.integers(seeds, size=DRAWS)

    def choices(self) -> list[Choice]:
        """Play all ladders; return those that can be played, the best ones first."""
        draws = [self.draws(number) for number in range(PLAYS)]
        found = []
        for rungs, factor in self.ladders():
            if self.left(rungs) < 0:
                continue
            plays = np.array([self.play(rungs, factor, *drawn) for drawn in draws])
            if np.isfinite(plays[:, 0]).all():
                genomes, seconds = plays[:, 1].mean(), plays[:, 2].mean()
                found.append(
                    Choice(rungs, factor, plays[:, 0], float(genomes), float(seconds / genomes))
                )
        return sorted(found, key=lambda choice: (-choice.ap, choice.seconds))

    def interval(self, choice: Choice) -> tuple[float, float]:
        """Return the 95% bootstrap interval over genomes of the mean AP of a ladder."""
        rng = np.random.default_rng(0)
        count, each = len(self.truth), PLAYS // 40
        means = []
        for number in range(TABLES):
            table = rng.integers(count, size=count)
            drawn = (self.draws(number * each + i, table) for i in range(each))
            means.append(np.mean([self.play(choice.rungs, choice.factor, *d)[0] for d in drawn]))
        low, high = np.nanquantile(means, (0.025, 0.975))
        return float(low), float(high)


def recommended(choices: Sequence[Choice]) -> Choice:
    """Return the cheapest of the ladders that are level with the best one.

    Two are level if their mean difference, paired by plays, is within ``SAME`` standard errors:
    more plays might reverse it.

    Args:
        choices: one or more, the best ones first.
    """
    best = choices[0].aps

    def level(choice: Choice) -> bool:
        gap = best - choice.aps
        return bool(gap.mean() <= SAME * gap.std(ddof=1) / math.sqrt(len(gap)))

    return min(filter(level, choices), key=lambda choice: (choice.seconds, len(choice.rungs)))


def game(
    measured: Mapping[str, Measured], budget: float, once: Mapping[str, float], finalists: int = 5
) -> Game:
    """Return the game of a study of rungs, of the genomes that have all scores.

    Args:
        measured: by the name of the rung, with the target.
        budget, once, finalists: see :class:`Game`.
    """
    rows = complete(measured)
    ap = {name: rung.ap[rows] for name, rung in measured.items()}
    seconds = {name: rung.seconds[rows] for name, rung in measured.items()}
    return Game(ap, seconds, budget, once, finalists)


def going_on(values: Array, factor: int) -> Array:
    """Return which values on a rung go on, in their order, by the rule of ``halving.py``.

    Args:
        values: (n,).
        factor: one of so many goes on.
    """
    goes = np.zeros(len(values), bool)
    ordered: list[float] = []
    for number, value in enumerate(values.tolist()):
        better = number - bisect_right(ordered, value)
        insort(ordered, value)
        goes[number] = better < max(1, (number + 1) // factor)
    return goes
