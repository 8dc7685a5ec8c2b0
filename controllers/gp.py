"""Bayesian optimisation: a Gaussian process over genomes and expected improvement.

After BANANAS (White, Neiswanger, Savani, AAAI 2021), which also changes incumbents to find the next
architecture, with an ensemble of networks in place of the Gaussian process.

Optuna's own GPSampler, wrapped as ``tpe.py`` wraps its TPE, needs PyTorch and SciPy, and was not
better: after 100 trials of the race (noise 0.03, seeds 0 to 3) it had found 0.339 on the additive
reward and 0.259 on the graph reward, where this one found 0.335 and 0.299, and random search 0.290
and 0.278. It took about 0.5 s of CPU time per proposal, this one about 0.01 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from controllers.arrays import GenomeArrays
from controllers.gaussian import Features, Kernel, Posterior, argbest, expected_improvement, fit
from controllers.graphs import Array
from controllers.samplers import Choices, LogSampler, Record, all_trials, finished, trial_index
from controllers.settings import MOST, check_count
from controllers.slot_arrays import SlotArrays
from search_space import NASFPNSpace, SearchSpace

_FITTED = 200  # latest records that the kernel is fitted to
_GROWTH = 1.2  # it is fitted again when there are so many times as many
_MODELLED = 1000  # records that the posterior is conditioned on
_PARENTS = 10  # genomes that candidates are made from
_CROSSED, _MUTATED_TWICE, _RANDOM = 0.3, 0.3, 0.2  # shares of the first pool
_ROUNDS = 3  # pools: the first, and two of mutants of the best candidates
MOST_POOL = 10_000


class GPSampler(LogSampler):
    """Proposes the genome with the largest expected improvement under a Gaussian process.

    The process has two kernels: one on what each cell is (level, op, inputs), one on what the graph
    is like, however its cells are numbered (paths, ops of outputs, levels that they read). Their
    lengths and weights and the variance of the noise maximise the marginal likelihood on a grid.
    Because values are noisy, the improvement is over the best posterior mean of the genomes so far
    and not over the best value. Candidates are mutants and crosses of the ten genomes with the best
    posterior mean, and random genomes; then, twice, mutants of the best candidates.

    The first ``start`` genomes are drawn by ``sample`` of the space. Genomes that were proposed
    before are not proposed again, failed ones included; otherwise failed trials are ignored.
    Trials of other workers that are still running count as if they had the value that the process
    expects, so that workers spread out. Values far below the median count as if they were as far
    below it as the best one is above it. With more than 1,000 values, the process learns from the
    latest 500 and the best 500 of the others. Parameters of the objective that are not decisions
    are drawn evenly and independently, not learned.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.
        start: trials with a value before the process is used.
        pool: candidates of each of three rounds.

    Raises:
        ControllerError: ``start`` or ``pool`` is no integer, ``start`` is below 2, or ``pool`` is
            outside 10..10,000.

    Example:
        >>> import optuna
        >>> from controllers import GPSampler, suggest
        >>> from search_space import DetectorShape, NASFPNSpace, detector_cost
        >>> space = NASFPNSpace()
        >>> def objective(trial):
        ...     return detector_cost(suggest(trial, space), DetectorShape()).macs
        >>> study = optuna.create_study(sampler=GPSampler(space, seed=0))
        >>> study.optimize(objective, n_trials=40)
        >>> values = [trial.value for trial in study.trials]
        >>> sum(values[20:]) < sum(values[:20])
        True
    """

    def __init__(
        self, space: SearchSpace, seed: int = 0, *, start: int = 20, pool: int = 200
    ) -> None:
        super().__init__(space, seed)
        self.start = check_count("start", start, 2, MOST)
        self.pool = check_count("pool", pool, 10, MOST_POOL)
        self._arrays = GenomeArrays(space) if isinstance(space, NASFPNSpace) else SlotArrays(space)
        self._last_fit: tuple[tuple[Record, ...], Kernel] | None = None
        self._last_described: tuple[tuple[Choices, ...], Array, Features] | None = None

    def propose(self, records: Sequence[Record], rng: np.random.Generator) -> Choices:
        return self.propose_beside(records, (), rng)

    def propose_beside(
        self, records: Sequence[Record], running: Sequence[Choices], rng: np.random.Generator
    ) -> Choices:
        """Return the next choices, given the finished trials and those of other workers."""
        scored = [record for record in records if record.reward is not None]
        if len(scored) >= self.start:
            known = self._arrays.from_choices([*(r.choices for r in records), *running])
            best = self._best_candidate(scored, running, {row.tobytes() for row in known}, rng)
            if best is not None:
                return self._arrays.to_choices(best)
        return self.encode(self.space.sample(rng))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._check_one_objective(study)
        trials = all_trials(study)
        choices = self.propose_beside(
            finished(self.space, study, trials, self._spaces),
            self._running(trials, trial.number),
            self.generator(trial_index(trial, trials)),
        )
        proposed = zip(self._names, choices, strict=True)
        return {name: choice for name, choice in proposed if name in search_space}

    def _running(self, trials: Sequence[FrozenTrial], number: int) -> list[Choices]:
        """Return the choices of the trials that other workers are working on."""
        wanted = self._spaces.decisions.items()
        return [
            tuple(int(trial.params[name]) for name in self._names)
            for trial in trials
            if trial.state == TrialState.RUNNING
            and trial.number != number
            and trial.distributions.items() >= wanted
        ]

    def _best_candidate(
        self,
        scored: Sequence[Record],
        running: Sequence[Choices],
        known: set[bytes],
        rng: np.random.Generator,
    ) -> Array | None:
        """Return the genome to propose; None if all candidates are known."""
        kernel, modelled = self._kernel(scored), _modelled(scored)
        genomes, features = self._described([record.choices for record in modelled])
        values = _values(modelled)
        posterior = Posterior(kernel, features, values)
        if running:
            beside = self._features(self._arrays.from_choices(running))
            expected = posterior.means(beside)
            posterior = Posterior(kernel, features.join(beside), np.concatenate([values, expected]))
        means = posterior.means(features)
        pool = self._first_pool(genomes[argbest(means, _PARENTS)], rng)
        candidates, gains = pool[:0], np.zeros(0)
        for number in range(_ROUNDS):
            if number and len(candidates):
                best = candidates[argbest(gains, _PARENTS)]
                pool = self._arrays.mutate(best[rng.integers(len(best), size=self.pool)], rng)
            pool = _unknown(pool, known)
            if len(pool):
                mean, sd = posterior.at(self._features(pool))
                gain = expected_improvement(mean, sd, float(means.max()))
                candidates, gains = np.concatenate([candidates, pool]), np.append(gains, gain)
        return candidates[gains.argmax()] if len(candidates) else None

    def _first_pool(self, parents: Array, rng: np.random.Generator) -> Array:
        a, b = (parents[rng.integers(len(parents), size=self.pool)] for _ in range(2))
        crossed, twice = (
            rng.random((self.pool, 1, 1)) < share for share in (_CROSSED, _MUTATED_TWICE)
        )
        pool = self._arrays.mutate(np.where(crossed, self._arrays.cross(a, b, rng), a), rng)
        pool = np.where(twice, self._arrays.mutate(pool, rng), pool)
        return np.concatenate([pool, self._arrays.random(int(_RANDOM * self.pool), rng)])

    def _described(self, choices: Sequence[Choices]) -> tuple[Array, Features]:
        """Return genomes and features; those that the last proposal began with are kept."""
        last, wanted = self._last_described, tuple(choices)
        if last is None or wanted[: len(last[0])] != last[0]:
            genomes = self._arrays.from_choices(wanted)
            last = wanted, genomes, self._features(genomes)
        elif new := wanted[len(last[0]) :]:
            genomes = self._arrays.from_choices(new)
            features = last[2].join(self._features(genomes))
            last = wanted, np.concatenate([last[1], genomes]), features
        # A single assignment, because threads of one study share a sampler.
        self._last_described = last
        return last[1], last[2]

    def _features(self, genomes: Array) -> Features:
        return Features(self._arrays.facts(genomes), self._arrays.graph(genomes))

    def _kernel(self, scored: Sequence[Record]) -> Kernel:
        """Return the kernel, which stays the same while the records are about as many."""
        size = self.start
        while (larger := max(size + 5, int(size * _GROWTH))) <= len(scored):
            size = larger
        part = tuple(scored[max(0, size - _FITTED) : size])
        last = self._last_fit
        if last is None or last[0] != part:
            features = self._features(self._arrays.from_choices([r.choices for r in part]))
            # A single assignment, because threads of one study share a sampler.
            self._last_fit = last = part, fit(features, _values(part))
        return last[1]


def _values(records: Sequence[Record]) -> Array:
    """Return the rewards; low ones are bounded, because a training may fail to any extent."""
    rewards = np.asarray([record.reward for record in records], np.float64)
    bounded: Array = np.maximum(rewards, 2 * np.median(rewards) - rewards.max())
    return bounded


def _modelled(scored: Sequence[Record]) -> Sequence[Record]:
    """Return all records; of more than 1,000 the latest 500, and the best 500 of the others."""
    if len(scored) <= _MODELLED:
        return scored
    half = _MODELLED // 2
    chosen = argbest([record.reward or 0.0 for record in scored[:-half]], half)
    return [*(scored[index] for index in sorted(chosen)), *scored[-half:]]


def _unknown(pool: Array, known: set[bytes]) -> Array:
    """Return the genomes that are not known, each once, and add them to those that are."""
    kept = []
    for index, genome in enumerate(pool):
        if (key := genome.tobytes()) not in known:
            known.add(key)
            kept.append(index)
    return pool[kept]
