"""The results of a study of rungs: how each rung ranks genomes, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from controllers import ranking
from controllers.fidelity import TARGET
from controllers.ranking import Array

QUARTER = 0.25
AMONG = (1, 3, 5)  # numbers of genomes that would be trained in full, for the regret
FEWEST = 4  # genomes of which ranks say anything
COLUMNS = (
    "rung",
    "recipe",
    "s a genome",
    "noise sd",
    "tau",
    "tau, top quarter",
    "rho",
    "rho, top quarter",
    *(f"regret@{k}" for k in AMONG),
)


@dataclass(frozen=True)
class Measured:
    """What the trainings of a rung gave.

    Attributes:
        recipe: name of the recipe, with ``+warm`` for a warm start.
        ap: (genomes, seeds).
        seconds: (genomes, seeds).
    """

    recipe: str
    ap: Array
    seconds: Array


def complete(rungs: Mapping[str, Measured]) -> Array:
    """Return the indices of the genomes that have a score for every rung and seed."""
    finite = [np.isfinite(rung.ap).all(1) for rung in rungs.values()]
    return np.flatnonzero(np.logical_and.reduce(finite))


def table(rungs: Mapping[str, Measured]) -> str:
    """Return the table as Markdown.

    A rung is compared, seed by seed, with the mean AP of the target over its seeds, and the
    figures are means over the seeds of the rung: a search trains a genome once. The row of the
    target compares one of its trainings with the mean of its others; no rung can be expected to do
    better. Intervals are those of a bootstrap over genomes.

    Args:
        rungs: by name, with the target; see :func:`complete` for the genomes that are used.
    """
    chosen = complete(rungs)
    target = rungs[TARGET].ap[chosen]
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for name, rung in rungs.items():
        score, seconds = rung.ap[chosen], rung.seconds[chosen]
        truth = others(target) if name == TARGET else target.mean(1)
        cells = [name, rung.recipe, f"{np.mean(seconds):.0f}", _number(ranking.noise(score))]
        if name == TARGET and target.shape[1] < 2:
            cells += ["-"] * (len(COLUMNS) - len(cells))
        else:
            for measure in (ranking.kendall, ranking.spearman):
                for share in (1.0, QUARTER):
                    statistic = ranking.over_seeds(measure, score, truth, share)
                    cells.append(_with_interval(statistic, len(chosen)))
            everything = np.arange(len(chosen))
            for k in AMONG:
                statistic = ranking.over_seeds(_regret(k), score, truth)
                cells.append(_number(statistic(everything)))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def others(ap: Array) -> Array:
    """Return (genomes, seeds): the mean of the other seeds, with one seed that of none."""
    seeds = ap.shape[1]
    others: Array = (ap.sum(1, keepdims=True) - ap) / max(seeds - 1, 1)
    return others


def _regret(k: int) -> Callable[[Array, Array], float]:
    return lambda score, truth: ranking.regret(score, truth, k)


def _with_interval(statistic: ranking.Statistic, count: int) -> str:
    value = statistic(np.arange(count))
    if not np.isfinite(value):
        return "-"
    low, high = ranking.bootstrap(statistic, count)
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"
