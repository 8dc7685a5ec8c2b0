"""Optuna's NSGA-II on the space."""

from __future__ import annotations

import optuna

from controllers.errors import ControllerError
from controllers.samplers import WrappedSampler
from search_space import NASFPNSpace


class NSGAIISampler(WrappedSampler):
    """NSGA-II over the space's categorical decisions, for one value or several.

    Failed and pruned trials are left out (Optuna).

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.
        population: trials in a generation. Optuna's default of 50 would leave a search of
            60 trials with one generation.

    Raises:
        ControllerError: a population below 2.
    """

    def __init__(self, space: NASFPNSpace, seed: int = 0, *, population: int = 20) -> None:
        super().__init__(space, seed)
        if population < 2:
            raise ControllerError(f"population is 2 or more, got {population}")
        self.population = population

    def inner(self, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.NSGAIISampler(population_size=self.population, seed=seed)
