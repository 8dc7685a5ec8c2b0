"""Aging evolution (Real et al., AAAI 2019, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controllers.samplers import Choices, LogSampler, Record
from controllers.settings import MOST, check_count, check_range
from search_space import Genome, SearchSpace


class RegularizedEvolutionSampler(LogSampler):
    """Mutates the best of a few members drawn from a population of the most recent genomes.

    The population is the last ``population`` trials with a value: a new genome replaces the
    oldest one, however good that is. Until the population is full, genomes are drawn by
    ``sample`` of the space. A parent is the best of ``tournament`` members drawn with
    replacement, and the child is one of its neighbours. Failed trials never enter the population.
    Parameters of the objective that are not decisions are drawn evenly and independently, not
    learned.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.
        population: number of members. Real et al. use 100 for 20,000 trials; 20 suits a few
            hundred.
        tournament: members drawn for each parent. Real et al. use 25 of 100; 5 of 20 is the
            same fraction.
        crossover_probability: fraction of children that cross two parents before they are
            mutated. The algorithm of the paper has no crossover, which is 0.

    Raises:
        ControllerError: ``population`` or ``tournament`` is no integer or below 1, or
            ``crossover_probability`` is outside 0..1.

    Example:
        >>> import optuna
        >>> from controllers import RegularizedEvolutionSampler, suggest
        >>> from search_space import DetectorShape, NASFPNSpace, detector_cost
        >>> space = NASFPNSpace()
        >>> def objective(trial):
        ...     return detector_cost(suggest(trial, space), DetectorShape()).macs
        >>> sampler = RegularizedEvolutionSampler(space, seed=0, population=10)
        >>> study = optuna.create_study(sampler=sampler)
        >>> study.optimize(objective, n_trials=40)
        >>> study.best_value < min(trial.value for trial in study.trials[:10])
        True
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        *,
        population: int = 20,
        tournament: int = 5,
        crossover_probability: float = 0.5,
    ) -> None:
        super().__init__(space, seed)
        check_range(
            "crossover_probability",
            crossover_probability,
            0 <= crossover_probability <= 1,
            "from 0 to 1",
        )
        self.population = check_count("population", population, 1, MOST)
        self.tournament = check_count("tournament", tournament, 1, MOST)
        self.crossover_probability = crossover_probability

    def propose(self, records: Sequence[Record], rng: np.random.Generator) -> Choices:
        scored = [(r.reward, r.choices) for r in records if r.reward is not None]
        if len(scored) < self.population:
            return self.encode(self.space.sample(rng))
        alive = scored[-self.population :]
        child = self._parent(alive, rng)
        if rng.random() < self.crossover_probability:
            child = self.space.crossover(child, self._parent(alive, rng), rng)
        return self.encode(self.space.mutate(child, rng))

    def _parent(self, alive: Sequence[tuple[float, Choices]], rng: np.random.Generator) -> Genome:
        drawn = rng.integers(len(alive), size=self.tournament)
        # The later of two equals, so that the search can drift along a plateau.
        return self.decode(alive[max(drawn, key=lambda i: (alive[i][0], i))][1])
