"""Optuna's NSGA-II on the space."""

from __future__ import annotations

import optuna

from controllers.samplers import WrappedSampler
from controllers.settings import MOST, check_range
from search_space import NASFPNSpace


class NSGAIISampler(WrappedSampler):
    """NSGA-II over the categorical decisions of the space, for one objective or several.

    Failed and pruned trials are ignored (Optuna).

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.
        population: trials in a generation. With Optuna's default of 50, a search of 60 trials
            would have a single generation.

    Raises:
        ControllerError: ``population`` is below 2.

    Example:
        >>> import optuna
        >>> from controllers import NSGAIISampler, suggest
        >>> from search_space import DetectorShape, NASFPNSpace, detector_cost
        >>> space = NASFPNSpace()
        >>> def objective(trial):
        ...     cost = detector_cost(suggest(trial, space), DetectorShape())
        ...     return cost.macs, cost.parameters
        >>> study = optuna.create_study(
        ...     directions=["minimize", "minimize"],
        ...     sampler=NSGAIISampler(space, seed=0, population=10),
        ... )
        >>> study.optimize(objective, n_trials=30)
        >>> len(space.decode(study.best_trials[0].params).cells)
        7
    """

    def __init__(self, space: NASFPNSpace, seed: int = 0, *, population: int = 20) -> None:
        super().__init__(space, seed)
        check_range(
            "population", population, 2 <= population <= MOST, f"2 or more, at most {MOST:,}"
        )
        self.population = population

    def inner(self, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.NSGAIISampler(population_size=self.population, seed=seed)
