"""Optuna's tree-structured Parzen estimator on the space."""

from __future__ import annotations

import optuna

from controllers.samplers import Constraints, WrappedSampler
from search_space import SearchSpace


class TPESampler(WrappedSampler):
    """Multivariate TPE over the categorical decisions of the space, for one objective or several.

    The first ten trials are drawn uniformly at random. Running trials of other workers count
    as bad until they finish, so that the workers spread out. Failed trials are ignored; pruned
    ones are ranked by their last report (Optuna).

    Parameters of the objective that are not decisions, such as a learning rate, are learned as
    Optuna's own TPE learns them: jointly with the decisions if they are in the same trials,
    otherwise one by one.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.
        constraints_func: as for Optuna's TPESampler: it is called with each complete or pruned
            trial and returns numbers, of which one above 0 means that the trial breaks a
            constraint. Optuna 5 deprecates it in favour of ``Trial.set_constraint``, which works
            with this sampler, too. It cannot be given on the command line.

    Example:
        >>> import optuna
        >>> from controllers import TPESampler, suggest
        >>> from search_space import DetectorShape, NASFPNSpace, detector_cost
        >>> space = NASFPNSpace()
        >>> def objective(trial):
        ...     return detector_cost(suggest(trial, space), DetectorShape()).macs
        >>> study = optuna.create_study(sampler=TPESampler(space, seed=0))
        >>> study.optimize(objective, n_trials=20)
        >>> len(space.decode(study.best_params).cells)
        7
    """

    def __init__(
        self, space: SearchSpace, seed: int = 0, *, constraints_func: Constraints | None = None
    ) -> None:
        super().__init__(space, seed)
        self.constraints_func = constraints_func

    def inner(self, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(
            seed=seed,
            multivariate=True,
            constant_liar=True,
            constraints_func=self.constraints_func,
        )
