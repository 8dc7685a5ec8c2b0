"""Optuna's tree-structured Parzen estimator on the space."""

from __future__ import annotations

import optuna

from controllers.samplers import WrappedSampler


class TPESampler(WrappedSampler):
    """Multivariate TPE over the categorical decisions of the space.

    The first ten trials are drawn uniformly at random. Running trials of other workers count
    as bad until they finish, so that the workers spread out. Failed trials are ignored; pruned
    ones are ranked by their last report (Optuna).

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.

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

    def inner(self, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
