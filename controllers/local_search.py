"""Local search (White, Nolen, Savani, UAI 2021), moving at the first improvement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from controllers.samplers import Choices, LogSampler, Record
from search_space import NASFPNSpace


class LocalSearchSampler(LogSampler):
    """Tries the neighbours of the best genome so far in random order.

    The first neighbour with a higher value takes its place; when none has, a new climb
    starts from a genome drawn evenly. A failed trial is a neighbour tried in vain. A genome
    is not proposed twice, except by a start.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.
    """

    def __init__(self, space: NASFPNSpace, seed: int = 0) -> None:
        super().__init__(space, seed)
        # The log is read anew for every proposal, so the same genomes come up again.
        self._canonical = lru_cache(maxsize=1 << 16)(lambda c: self.encode(self.decode(c)))
        self._neighbours = lru_cache(maxsize=256)(self._list_neighbours)

    def propose(self, records: Sequence[Record], rng: np.random.Generator) -> Choices:
        untried = self._untried(records)
        if not untried:
            return self.encode(self.space.sample(rng))
        return untried[int(rng.integers(len(untried)))]

    def _untried(self, records: Sequence[Record]) -> list[Choices]:
        """Climb along the records; return what is left to try around the top, in fixed order."""
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
