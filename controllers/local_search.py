"""Local search (White, Nolen, Savani, UAI 2021), moving at the first improvement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from controllers.samplers import Choices, LogSampler, Record
from search_space import SearchSpace


class LocalSearchSampler(LogSampler):
    """Tries the neighbours of the current genome in random order and moves to the first better.

    If no neighbour is better, it restarts from a genome drawn by ``sample`` of the space. A failed
    trial counts as a neighbour without improvement. No genome is proposed twice, except by a
    restart. Parameters of the objective that are not decisions are drawn evenly and independently,
    not learned.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.

    Example:
        >>> import optuna
        >>> from controllers import LocalSearchSampler, suggest
        >>> from search_space import DetectorShape, NASFPNSpace, detector_cost
        >>> space = NASFPNSpace()
        >>> def objective(trial):
        ...     return detector_cost(suggest(trial, space), DetectorShape()).macs
        >>> study = optuna.create_study(sampler=LocalSearchSampler(space, seed=0))
        >>> study.optimize(objective, n_trials=20)
        >>> len(space.decode(study.best_params).cells)
        7
    """

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        super().__init__(space, seed)
        self._forget()

    def _forget(self) -> None:
        # The log is read again for every proposal, so the same genomes come up again.
        self._canonical = lru_cache(maxsize=1 << 16)(lambda c: self.encode(self.decode(c)))
        self._neighbours = lru_cache(maxsize=256)(self._list_neighbours)

    def __getstate__(self) -> dict[str, Any]:
        cached = ("_canonical", "_neighbours")  # belong to this object and cannot be pickled
        return {name: value for name, value in vars(self).items() if name not in cached}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def propose(self, records: Sequence[Record], rng: np.random.Generator) -> Choices:
        untried = self._untried(records)
        if not untried:
            return self.encode(self.space.sample(rng))
        return untried[int(rng.integers(len(untried)))]

    def _untried(self, records: Sequence[Record]) -> list[Choices]:
        """Return the untried neighbours of the genome that the records climb to, in fixed order.

        The list is empty before the first trial and when a restart is due.
        """
        tried: set[Choices] = set()
        left: set[Choices] = set()
        top: Choices | None = None
        best = -math.inf
        for record in records:
            choices = self._canonical(record.choices)
            tried.add(choices)
            left.discard(choices)
            if record.reward is not None and record.reward > best:
                top, best = choices, record.reward
                left = set(self._neighbours(choices)) - tried
            if not left:
                top, best = None, -math.inf
        return [n for n in self._neighbours(top) if n in left] if top is not None else []

    def _list_neighbours(self, choices: Choices) -> tuple[Choices, ...]:
        return tuple(map(self.encode, self.space.neighbours(self.decode(choices))))
