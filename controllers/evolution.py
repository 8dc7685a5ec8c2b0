"""Aging evolution (Real et al., AAAI 2019, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controllers.errors import ControllerError
from controllers.samplers import Choices, LogSampler, Record
from search_space import Genome, NASFPNSpace


class RegularizedEvolutionSampler(LogSampler):
    """Mutates the best of a few drawn from the last so many genomes.

    The population is the last ``population`` trials that have a value: the oldest leaves,
    however good. Until there are as many, genomes are drawn evenly. A parent is the best
    of ``tournament`` members drawn with replacement, the child one of its neighbours.
    Failed trials never enter the population.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.
        population: Real et al. take 100 for 20,000 trials; 20 suits a few hundred.
        tournament: Real et al. take 25 of 100; the same share is 5 of 20.
        crossover_probability: share of children that cross two parents before they are
            mutated; the algorithm of the paper has none.

    Raises:
        ControllerError: a size below 1 or a probability outside 0..1.
    """

    def __init__(
        self,
        space: NASFPNSpace,
        seed: int = 0,
        *,
        population: int = 20,
        tournament: int = 5,
        crossover_probability: float = 0.0,
    ) -> None:
        super().__init__(space, seed)
        for name, value in (("population", population), ("tournament", tournament)):
            if value < 1:
                raise ControllerError(f"{name} is 1 or more, got {value}")
        if not 0 <= crossover_probability <= 1:
            raise ControllerError(
                f"crossover_probability is from 0 to 1, got {crossover_probability}"
            )
        self.population, self.tournament = population, tournament
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
        # The later of two equals, so that a plateau is wandered over and not held.
        return self.decode(alive[max(drawn, key=lambda i: (alive[i][0], i))][1])
