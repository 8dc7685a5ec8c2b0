"""Controllers learn: they beat random search, whose odds are exact on an enumerated space.

Let F be the fraction of genomes below the reward t. Then n uniform draws reach t with probability
q = 1 - F ** n, and of s seeds of a controller that is no better than random, Binomial(s, q)
reach it. Each test bounds the probability that such a controller passes. Proposals are functions
of the seed, so a test that passes once passes until the controller changes.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import binom

from controllers import (
    GPSampler,
    LocalSearchSampler,
    PPOSampler,
    RegularizedEvolutionSampler,
)
from controllers.samplers import LogSampler, Record
from synthetic import SPACE, reward

pytestmark = pytest.mark.slow
# PPO takes 4 s of a core for a seed, the others 0.3 s.
SEEDS = {RegularizedEvolutionSampler: 30, LocalSearchSampler: 30, PPOSampler: 8}
# The defaults of ppo are for a few hundred noisy trials in a large space (``nasfpn bench
# controllers``). In this small space, without noise, it finds more if it learns slowly.
SETTINGS = {PPOSampler: {"learning_rate": 2e-3, "entropy": 0.1, "heat": 0.0}}


@cache
def all_rewards() -> np.ndarray:
    rewards = np.sort([reward(genome) for genome in SPACE.enumerate()])
    assert len(rewards) == SPACE.size()
    return rewards


def odds(threshold: float, trials: int) -> float:
    """Return the probability that ``trials`` genomes drawn uniformly reach the threshold."""
    below = np.searchsorted(all_rewards(), threshold) / len(all_rewards())
    return float(1 - below**trials)


def by_luck(hits: int, seeds: int, threshold: float, trials: int) -> float:
    """Return the probability that random search has at least that many hits in so many seeds."""
    return float(binom.sf(hits - 1, seeds, odds(threshold, trials)))


def rewards_of(sampler: LogSampler, trials: int) -> np.ndarray:
    """Search without Optuna's storage; test_conformance shows that it changes nothing."""
    records: list[Record] = []
    for index in range(trials):
        choices = sampler.propose(records, sampler.generator(index))
        records.append(Record(choices, reward(sampler.decode(choices))))
    return np.asarray([record.reward for record in records])


@cache
def runs(kind: type[LogSampler]) -> np.ndarray:
    """Return rewards, shape (seeds, 500)."""
    settings = SETTINGS.get(kind, {})
    return np.stack([rewards_of(kind(SPACE, seed, **settings), 500) for seed in range(SEEDS[kind])])


def hits(kind: type[LogSampler], threshold: float, trials: int) -> int:
    return int((runs(kind)[:, :trials].max(1) >= threshold).sum())


def test_evolution_beats_random_at_150() -> None:
    """With random search, 9% of seeds reach 14.5."""
    assert by_luck(15, 30, 14.5, 150) < 1e-7
    assert hits(RegularizedEvolutionSampler, 14.5, 150) >= 15


def test_local_search_beats_random_at_150() -> None:
    assert hits(LocalSearchSampler, 14.5, 150) >= 15


def test_gp_beats_random_at_60() -> None:
    """With random search, 4% of seeds reach 14.5. Ten seeds take a minute less than thirty."""
    seeds = range(10)
    found = [rewards_of(GPSampler(SPACE, seed), 60).max() >= 14.5 for seed in seeds]
    assert binom.sf(6 - 1, len(seeds), odds(14.5, 60)) < 1e-5
    assert sum(found) >= 6


def test_ppo_beats_random_at_500() -> None:
    """With random search, 16% of seeds reach 15."""
    assert by_luck(7, 8, 15.0, 500) < 3e-5
    assert hits(PPOSampler, 15.0, 500) >= 7


def test_each_finds_the_optimum() -> None:
    """With random search, 0.8% of seeds find one of the four optimal genomes in 500 trials."""
    optimum = float(all_rewards()[-1])
    for kind, seeds in SEEDS.items():
        enough = 4 if seeds == 8 else 10
        assert by_luck(enough, seeds, optimum, 500) < 3e-7
        assert hits(kind, optimum, 500) >= enough


def test_mean_reward_of_ppo_rises() -> None:
    """Without learning, the rewards of one seed rise by 3 with probability 2% at most.

    The difference of two means of 50 draws has a variance v of twice that of a draw, divided by
    50, and exceeds 3 with probability v / (v + 9) at most (Cantelli's inequality).
    """
    variance = 2 * all_rewards().var() / 50
    assert binom.sf(7 - 1, 8, variance / (variance + 9)) < 1e-11
    rewards = np.stack([rewards_of(PPOSampler(SPACE, seed), 500) for seed in range(8)])
    rises = rewards[:, -50:].mean(1) > rewards[:, :50].mean(1) + 3
    assert rises.sum() >= 7
