"""Local search (White, Nolen, Savani, UAI 2021), moving at the first improvement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from controllers.samplers import Choices, LogSampler, Record
from controllers.settings import MOST, check_count
from search_space import SearchSpace

# So many repeated values, none of which differs from the first, show that there is no noise.
_EQUAL = 3


class LocalSearchSampler(LogSampler):
    """Tries the neighbours of the current genome in random order and moves to the first better.

    If no neighbour is better, it restarts from a genome drawn by ``sample`` of the space. A failed
    trial counts as a neighbour without improvement.

    Because values are noisy, a genome counts with the mean of its values, and lucky values are
    found out by proposing a genome again: a neighbour that is better is proposed until it has
    ``values`` values, and the search moves if their mean is still better; and after ``patience``
    neighbours in a row that are not better, the current genome is proposed again, because its own
    value may be too high. If repeated values are always equal, this ends. Otherwise no genome is
    proposed twice, except by a restart. Parameters of the objective that are not decisions are
    drawn evenly and independently, not learned.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.
        values: values that a neighbour must have before the search moves to it.
        patience: neighbours without improvement until the current genome is proposed again; with
            0 it never is.

    Raises:
        ControllerError: ``values`` or ``patience`` is no integer, ``values`` is below 1, or
            ``patience`` is below 0.

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

    def __init__(
        self, space: SearchSpace, seed: int = 0, *, values: int = 2, patience: int = 15
    ) -> None:
        super().__init__(space, seed)
        self.values = check_count("values", values, 1, MOST)
        self.patience = check_count("patience", patience, 0, MOST)
        self.repeats = self.values > 1 or self.patience > 0
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
        again, untried = self._climb(records)
        if again is not None:
            return again
        if not untried:
            return self.encode(self.space.sample(rng))
        return untried[int(rng.integers(len(untried)))]

    def _climb(self, records: Sequence[Record]) -> tuple[Choices | None, list[Choices]]:
        """Follow the records to the current genome, and return what to propose next.

        Returns:
            A genome to propose again, if there is one; and the untried neighbours of the current
            genome in fixed order, none before the first trial and when a restart is due.
        """
        known: dict[Choices, list[float]] = {}
        top: Choices | None = None
        left: set[Choices] = set()
        again: list[Choices] = []
        worse = equal = 0
        noisy = False

        def mean(choices: Choices) -> float:
            return sum(known[choices]) / len(known[choices])

        for record in records:
            choices = self._canonical(record.choices)
            values = known.setdefault(choices, [])
            if record.reward is not None:
                if values:
                    equal, noisy = equal + 1, noisy or record.reward != values[0]
                values.append(record.reward)
            exact = equal >= _EQUAL and not noisy
            left.discard(choices)
            if choices in again:
                again.remove(choices)
            worse = 0 if choices == top else worse + 1
            rivals = [choices] if record.reward is not None else []
            if rivals and choices == top:  # its mean may have fallen below that of a neighbour
                rivals = [n for n in self._neighbours(top) if known.get(n)]
            best = max(rivals, key=mean, default=None)
            if best is not None and (top is None or mean(best) > mean(top)):
                if top is None or exact or len(known[best]) >= self.values:
                    top, left = best, set(self._neighbours(best)) - known.keys()
                    again, worse = [], 0
                elif best not in again:
                    again.append(best)
            if not left and not again:
                top, worse = None, 0
        if not again and top is not None and 0 < self.patience <= worse and not exact:
            again = [top]
        untried = [n for n in self._neighbours(top) if n in left] if top is not None else []
        return (again[0] if again else None), untried

    def _list_neighbours(self, choices: Choices) -> tuple[Choices, ...]:
        return tuple(map(self.encode, self.space.neighbours(self.decode(choices))))
