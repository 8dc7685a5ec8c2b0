"""Random search, the yardstick of every other controller."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controllers.samplers import Choices, LogSampler, Record


class RandomSampler(LogSampler):
    """Draws genomes evenly and learns nothing."""

    def propose(self, records: Sequence[Record], rng: np.random.Generator) -> Choices:
        return self.encode(self.space.sample(rng))
