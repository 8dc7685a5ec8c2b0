"""Weights made from parameter names, random genomes, and MindSpore's execution mode."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from search_space import Genome, MergingCell
from search_space.rules import ARITY

Fill = Callable[[Any], None]
RandomGenome = Callable[[np.random.Generator], Genome]

# Last parts of MindSpore's parameter names, and of the names that weights are made from.
LEAVES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _weight(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    leaf = re.split(r"[./]", name)[-1]
    if leaf in ("running_var", "moving_variance"):
        value = rng.uniform(0.5, 1.5, shape)
    elif leaf in ("running_mean", "moving_mean", "beta", "bias"):
        value = 0.1 * rng.standard_normal(shape)
    elif len(shape) == 1:
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = rng.standard_normal(shape) * np.sqrt(1 / np.prod(shape[1:]))
    return value.astype(np.float32)


def _fill(net: Any, rename: Callable[[str], str] = str) -> None:
    from mindspore import Tensor

    for parameter in net.get_parameters():
        stem, leaf = rename(parameter.name).rsplit(".", 1)
        value = _weight(f"{stem}.{LEAVES.get(leaf, leaf)}", tuple(parameter.shape))
        parameter.set_data(Tensor(value))


def _random_genome(rng: np.random.Generator) -> Genome:
    levels = [int(rng.integers(2, 6))]
    while len(levels) < 2 or (levels[-1] < 7 and rng.random() < 0.75):
        levels.append(min(7, levels[-1] + int(rng.choice([1, 1, 1, 2]))))
    cell_levels = levels + rng.choice(levels, size=rng.integers(0, 5)).tolist()
    rng.shuffle(cell_levels)
    cells = []
    for number, level in enumerate(cell_levels, start=len(levels)):
        op = str(rng.choice(list(ARITY), p=[0.35, 0.35, 0.15, 0.15]))
        least, most = ARITY[op]
        count = int(rng.integers(least, min(most or 4, number) + 1))
        inputs = rng.choice(number, size=count, replace=False).tolist()
        cells.append(MergingCell(level, op, tuple(inputs)))
    return Genome(tuple(cells), tuple(levels))


@pytest.fixture(scope="session")
def weight() -> Callable[[str, tuple[int, ...]], NDArray[np.float32]]:
    """Return a function from the name and shape of a parameter to its value in the goldens."""
    return _weight


@pytest.fixture
def fill() -> Callable[..., None]:
    """Return a function that sets all parameters of a network, also the running statistics.

    Each value depends on the name and shape of its parameter. ``fill(net, rename)`` takes the
    names that ``rename`` returns for MindSpore's names.
    """
    return _fill


@pytest.fixture(scope="session")
def random_genome() -> RandomGenome:
    """Return a function that draws a genome for which a detector can be built.

    The finest level is 2 to 5 and the coarsest at most 7, with gaps; cells have all ops and one to
    four inputs.
    """
    return _random_genome


@pytest.fixture
def pynative() -> Iterator[None]:
    """Run operators one by one, without compilation."""
    yield from _mode("PYNATIVE_MODE")


@pytest.fixture
def graph() -> Iterator[None]:
    """Compile networks."""
    yield from _mode("GRAPH_MODE")


def _mode(name: str) -> Iterator[None]:
    import mindspore

    import nasfpn_runtime  # noqa: F401  before the first convolution

    before = mindspore.get_context("mode")
    mindspore.set_context(mode=getattr(mindspore, name))
    yield
    mindspore.set_context(mode=before)
