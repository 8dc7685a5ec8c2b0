"""Random search, the baseline of every other controller."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controllers.samplers import Choices, LogSampler, Record


class RandomSampler(LogSampler):
    """Draws genomes at random and learns nothing.

    They are drawn by ``sample`` of the space; in the paper's space all are equally likely.
    Parameters of the objective that are not decisions are drawn evenly and independently.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.

    Example:
        >>> import optuna
        >>> from controllers import RandomSampler, suggest
        >>> from search_space import DetectorShape, NASFPNSpace, detector_cost
        >>> space = NASFPNSpace()
        >>> def objective(trial):
        ...     return detector_cost(suggest(trial, space), DetectorShape()).macs
        >>> study = optuna.create_study(sampler=RandomSampler(space, seed=0))
        >>> study.optimize(objective, n_trials=20)
        >>> len(space.decode(study.best_params).cells)
        7
    """

    def propose(self, records: Sequence[Record], rng: np.random.Generator) -> Choices:
        return self.encode(self.space.sample(rng))
