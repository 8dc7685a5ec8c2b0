"""Synthetic rewards of genomes: instant stand-ins for the AP after a training.

They compare controllers (``race.py``). Each kind is a family of functions, one for each seed, and
each function is scaled so that random genomes of the space have mean :data:`MEAN` and standard
deviation :data:`SD`, about the figures of short trainings. None is the truth about pyramids: a
controller that fails here has learned nothing, and one that wins here may still lose on data.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from search_space import Genome, SearchSpace
from search_space.wiring import LEFTOVER, wire

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Reward: TypeAlias = Callable[[Genome], float]

MEAN, SD = 0.18, 0.05
_SAMPLE = 1000  # random genomes that a function is scaled by
_FIELDS = 3  # of a cell: its level, its op, the nodes it reads
_INTERACTIONS = 0.4  # share of the variance of the additive functions
_FAR = 6.0  # length of a path that does not exist; the longest shortest path has 7 edges
_CEILING = 4.0  # standard deviations that graph rewards can be above or below the mean


def additive(space: SearchSpace, seed: int) -> Reward:
    """Return a function that adds up what the cells are, with interactions of pairs.

    Each cell has a level, an op and nodes that it reads; an unused slot has none of these facts.
    Each fact has a random weight, drawn from a normal distribution. So has each pair of facts in
    some pairs of fields: three times as many pairs as fields, drawn at random. The pairs have 0.4
    of the variance. Nothing connects the weights of different cells, so all that can be learned is
    which facts, and which pairs of facts, are good.
    """
    rng = np.random.default_rng((seed, 0))
    fields = _FIELDS * space.slots
    values = max(len(space.levels) + space.slots, len(space.ops))
    single = rng.normal(size=(fields, values))
    pairs = np.asarray([rng.choice(fields, 2, replace=False) for _ in range(3 * fields)])
    double = rng.normal(size=(len(pairs), values, values))
    # Both are sums over the facts of a field, of which "reads" has one for each input.
    facts = _Facts(space)

    def parts(genome: Genome) -> Array:
        held = facts(genome)
        one, other = held[pairs[:, 0]], held[pairs[:, 1]]
        interactions = np.einsum("pi,pij,pj->", one, double, other, optimize=True)
        return np.asarray([(single * held).sum(), interactions])

    drawn = np.stack([parts(genome) for genome in _sample(space)])
    mean, sd = drawn.mean(0), drawn.std(0)
    shares = np.sqrt([1 - _INTERACTIONS, _INTERACTIONS]) / sd
    spread = ((drawn - mean) @ shares).std()
    return lambda genome: float(MEAN + SD * ((parts(genome) - mean) @ shares) / spread)


def graph(space: SearchSpace, seed: int) -> Reward:
    """Return a function of properties that are the same however the cells are numbered.

    Good are short paths from all input levels to all outputs, cells whose result is read or is an
    output, attention at coarse levels and none at fine ones, inputs from near levels, a depth near
    the function's own optimum, and outputs that read cells instead of inputs. The properties are
    standardised, weighted by random positive numbers, and added up; then each product of two of
    three random properties is added with a random weight, and the sum is bounded smoothly.
    """
    rng = np.random.default_rng((seed, 1))
    depth = rng.uniform(2, 5)
    raw = np.stack([_properties(genome, depth) for genome in _sample(space)])
    mean, sd = raw.mean(0), np.maximum(raw.std(0), 1e-9)
    weights = rng.exponential(size=len(mean))
    weights /= np.linalg.norm(weights)
    chosen = rng.permutation(len(mean))[:3]
    products = rng.normal(scale=0.3, size=3)

    def bounded(properties: Array) -> Array:
        z = (properties - mean) / sd
        a, b, c = z[..., chosen].T
        total = z @ weights + np.stack([a * b, b * c, a * c], -1) @ products
        result: Array = _CEILING * np.tanh(total / _CEILING)
        return result

    drawn = bounded(raw)
    centre, spread = drawn.mean(), drawn.std()
    return lambda genome: float(MEAN + SD * (bounded(_properties(genome, depth)) - centre) / spread)


REWARDS: dict[str, Callable[[SearchSpace, int], Reward]] = {"additive": additive, "graph": graph}


class _Facts:
    """Reads the facts of a genome: shape (fields, values), 1 where the field has the value."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.ops = {op: index for index, op in enumerate(space.ops)}
        self.levels = {level: index for index, level in enumerate(space.levels)}
        self.shape = (space.slots, _FIELDS, max(len(space.levels) + space.slots, len(space.ops)))

    def __call__(self, genome: Genome) -> Array:
        held = np.zeros(self.shape)
        slots, levels = self.space.slots_of(genome), len(self.levels)
        numbers = (*range(levels), *(levels + slot for slot in slots))
        for slot, cell in zip(slots, genome.cells, strict=True):
            facts = held[slot]
            facts[0, self.levels[cell.level]] = 1
            facts[1, self.ops[cell.op]] = 1
            facts[2, [numbers[node] for node in cell.inputs]] = 1
        return held.reshape(-1, self.shape[-1])


def _properties(genome: Genome, depth: float) -> Array:
    """Return the properties of a genome, larger for better ones."""
    wiring = wire(genome)
    inputs = len(wiring.levels)
    middle = sum(map(int, wiring.levels)) / inputs
    # Edges from each input level to each node on the shortest path, and edges on the longest path.
    shortest = np.full((inputs + len(wiring.cells), inputs), _FAR)
    np.fill_diagonal(shortest, 0)
    longest = np.zeros(len(shortest))
    read, attention, jumps, second_hand = set(), 0.0, 0.0, 0
    for cell in wiring.cells:
        nodes = [node for node, _ in cell.sources]
        shortest[cell.number] = np.minimum(shortest[nodes].min(0) + 1, _FAR)
        longest[cell.number] = longest[nodes].max() + 1
        read |= {node for node, role in cell.sources if role != LEFTOVER}
        attention += (int(cell.level) - middle) * (cell.op == "attention")
        jumps += sum(abs(int(source.level) - int(cell.level)) for source in cell.inputs)
        second_hand += cell.output and any(node >= inputs for node in nodes)
    outputs = list(wiring.outputs)
    wasted = sum(cell.number not in read and not cell.output for cell in wiring.cells)
    return np.asarray(
        [
            -shortest[outputs].mean(),
            -wasted - sum(node not in read for node in range(inputs)),
            attention,
            -jumps,
            -abs(longest[outputs].mean() - depth),
            second_hand,
        ],
        np.float64,
    )


@lru_cache(maxsize=4)
def _sample(space: SearchSpace) -> tuple[Genome, ...]:
    """Return random genomes, the same for every function of the space."""
    rng = np.random.default_rng(0)
    return tuple(space.sample(rng) for _ in range(_SAMPLE))
