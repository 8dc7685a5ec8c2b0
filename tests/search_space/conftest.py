"""Random genomes far outside the paper's space, for laws that hold for every genome."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from search_space import Genome, MergingCell
from search_space.rules import ARITY

RandomGenome = Callable[[np.random.Generator], Genome]


def _random_genome(rng: np.random.Generator) -> Genome:
    levels = sorted(rng.choice(np.arange(1, 11), size=rng.integers(2, 7), replace=False).tolist())
    cell_levels = levels + rng.choice(levels, size=rng.integers(0, 8)).tolist()
    rng.shuffle(cell_levels)
    cells = []
    for number, level in enumerate(cell_levels, start=len(levels)):
        op = str(rng.choice(list(ARITY)))
        least, most = ARITY[op]
        count = int(rng.integers(least, min(most or 5, number) + 1))
        inputs = rng.choice(number, size=count, replace=False).tolist()
        cells.append(MergingCell(level, op, tuple(inputs)))
    return Genome(tuple(cells), tuple(levels))


@pytest.fixture
def random_genome() -> RandomGenome:
    """Return a function that draws a genome.

    Two to six levels, up to seven cells more than levels, all ops, one to five inputs in any order.
    """
    return _random_genome
