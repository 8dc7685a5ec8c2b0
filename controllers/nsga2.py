"""Optuna's NSGA-II on the space."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from controllers.joint import Space, shared
from controllers.samplers import Constraints, WrappedSampler, all_trials
from controllers.settings import MOST, check_count
from search_space import SearchSpace

_GENERATION = optuna.samplers.NSGAIISampler._get_generation_key()


class NSGAIISampler(WrappedSampler):
    """NSGA-II over the categorical decisions of the space, for one objective or several.

    Failed and pruned trials are ignored (Optuna).

    Parameters of the objective that are not decisions, such as a learning rate, are learned as
    Optuna's own NSGA-II learns them: a child inherits what all trials have that may become
    parents, and the rest is drawn uniformly at random. So a parameter or a decision that the
    objective asks for in some trials only is not inherited.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.
        population: trials in a generation. With Optuna's default of 50, a search of 60 trials
            would have a single generation.
        constraints_func: as for Optuna's NSGAIISampler: it is called with each complete or pruned
            trial and returns numbers, of which one above 0 means that the trial breaks a
            constraint. Optuna 5 deprecates it in favour of ``Trial.set_constraint``, which works
            with this sampler, too. It cannot be given on the command line.

    Raises:
        ControllerError: ``population`` is no integer or below 2.

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

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        *,
        population: int = 20,
        constraints_func: Constraints | None = None,
    ) -> None:
        super().__init__(space, seed)
        self.population = check_count("population", population, 2, MOST)
        self.constraints_func = constraints_func

    def inner(self, seed: int) -> optuna.samplers.NSGAIISampler:
        return optuna.samplers.NSGAIISampler(
            population_size=self.population, seed=seed, constraints_func=self.constraints_func
        )

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        # Parents are complete trials with the number of a generation, which the trials of other
        # samplers, and most of those that were added, do not have.
        complete = [t for t in all_trials(study) if t.state == TrialState.COMPLETE]
        found = self._spaces.distinct(complete, lambda trial: _GENERATION in trial.system_attrs)
        return shared(found, self._spaces.decisions)

    def readable(self, study: Study, trials: Sequence[FrozenTrial], wanted: Space) -> Study:
        return study  # it reads parameters of parents only, which have those of the space above
