"""How well one score ranks genomes as another does: rank correlations, regret, noise.

Scores have a row for each genome; higher is better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# Of the indices of some genomes, of which some may occur several times.
Statistic: TypeAlias = Callable[[Array], float]


def kendall(one: Array, other: Array) -> float:
    """Return Kendall's tau-b (Kendall 1945): 1 for the same order, -1 for the reverse.

    It is the number of pairs in the same order less that of pairs in reverse order, over the
    geometric mean of the numbers of pairs that each score tells apart. NaN if one of them tells
    no pair apart.

    Args:
        one, other: (n,) scores.
    """
    signs = [np.sign(score[:, None] - score[None, :]) for score in (one, other)]
    apart = np.prod([float(np.abs(sign).sum()) for sign in signs])
    return float((signs[0] * signs[1]).sum() / np.sqrt(apart)) if apart else float("nan")


def spearman(one: Array, other: Array) -> float:
    """Return Spearman's rho: the correlation of the ranks. NaN if one score is constant.

    Args:
        one, other: (n,) scores.
    """
    centred = [ranks(score) - (len(score) + 1) / 2 for score in (one, other)]
    scale = np.sqrt(np.prod([float((rank**2).sum()) for rank in centred]))
    return float((centred[0] * centred[1]).sum() / scale) if scale else float("nan")


def ranks(score: Array) -> Array:
    """Return (n,) ranks from 1 for the lowest score; equal scores share the mean of theirs."""
    below = (score[None, :] < score[:, None]).sum(1)
    equal = (score[None, :] == score[:, None]).sum(1)
    ranked: Array = below + (equal + 1) / 2
    return ranked


def regret(score: Array, truth: Array, k: int) -> float:
    """Return what is lost by training only the ``k`` genomes with the highest score in full.

    It is the truth of the best of all genomes less that of the best of these. Of equal scores the
    first ones are taken.

    Args:
        score, truth: (n,).
    """
    chosen = np.argsort(-score, kind="stable")[:k]
    return float(truth.max() - truth[chosen].max())


def top(truth: Array, share: float = 0.25) -> Array:
    """Return the indices of the best genomes, this share of them rounded up."""
    count = int(np.ceil(share * len(truth)))
    return np.argsort(-truth, kind="stable")[:count]


def noise(values: Array) -> float:
    """Return the standard deviation of a score among seeds, pooled over genomes.

    Args:
        values: (n, seeds), 2 seeds or more; NaN for one.
    """
    if values.shape[1] < 2:
        return float("nan")
    return float(np.sqrt(values.var(axis=1, ddof=1).mean()))


def bootstrap(statistic: Statistic, count: int, resamples: int = 1000) -> tuple[float, float]:
    """Return the 95% percentile interval of a statistic over genomes, by drawing genomes anew.

    Samples in which the statistic is NaN are left out; both ends are NaN if it is so in all.
    The draws are the same in every call.

    Args:
        statistic: of the drawn indices, (count,).
        count: number of genomes.
    """
    rng = np.random.default_rng(0)
    values = np.array([statistic(rng.integers(count, size=count)) for _ in range(resamples)])
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def over_seeds(
    measure: Callable[[Array, Array], float], scores: Array, truth: Array, share: float = 1.0
) -> Statistic:
    """Return the mean over seeds of a measure between the score of one training and the truth.

    Args:
        measure: such as :func:`kendall`.
        scores: (n, seeds).
        truth: (n,), or (n, seeds) with a truth for each seed.
        share: compare only this share of the genomes, the best by the mean truth.
    """
    each = np.broadcast_to(truth.reshape(len(truth), -1), scores.shape)
    mean = each.mean(1)

    def statistic(drawn: Array) -> float:
        chosen = drawn[top(mean[drawn], share)]
        pairs = zip(scores[chosen].T, each[chosen].T, strict=True)
        return float(np.mean([measure(score, true) for score, true in pairs]))

    return statistic
