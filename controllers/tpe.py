"""Optuna's tree-structured Parzen estimator on the space."""

from __future__ import annotations

import optuna

from controllers.samplers import WrappedSampler


class TPESampler(WrappedSampler):
    """Multivariate TPE over the space's categorical decisions; ten trials are drawn evenly first.

    What other workers are training counts as bad for the time being, so that they spread
    out. Failed trials are left out, pruned ones rank by their last report (Optuna).
    """

    def inner(self, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
