"""Many genomes of the paper's space as one integer array: to change and to compare them in bulk.

Row (genome, cell) has four integers: index of the cell's level, first and second node that it
reads, ascending, and index of its op. Changes are those of ``NASFPNSpace.mutate`` and
``NASFPNSpace.crossover``, without checks and a hundred times as fast. Other spaces have
``slot_arrays.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations

import numpy as np

from controllers.graphs import Array, Cells
from controllers.samplers import Choices
from search_space import NASFPNSpace

LEVEL, FIRST, SECOND, OP = range(4)
_FIELDS = ("level", "first", "second", "op")
_INPUT, _OP, _LEVEL, _SWAP = range(4)  # kinds of a move


class GenomeArrays:
    """Operations on arrays of genomes of one space.

    Args:
        space: the space.
    """

    def __init__(self, space: NASFPNSpace) -> None:
        self.space = space
        self.inputs, self.cells = len(space.levels), space.cells
        self.intermediate = space.intermediate_cells
        allowed = space.intermediate_levels or ()
        self._allowed = np.asarray([space.levels.index(level) for level in allowed], np.int64)
        self._sizes = np.asarray([decision.size for decision in space.decisions()])
        columns = {decision.name: i for i, decision in enumerate(space.decisions())}
        self._columns = [
            [columns.get(f"cell{cell}.{field}") for field in _FIELDS] for cell in range(self.cells)
        ]

    def from_choices(self, choices: Sequence[Choices] | Array) -> Array:
        """Return the genomes of choices, shape (genomes, decisions)."""
        given = np.asarray(choices, np.int64).reshape(-1, len(self._sizes))
        genomes = np.zeros((len(given), self.cells, 4), np.int64)
        free = np.ones((len(given), self.inputs), bool)  # levels that have no output yet
        for cell, columns in enumerate(self._columns):
            level, first, second, op = (
                given[:, column] if column is not None else np.zeros(len(given), np.int64)
                for column in columns
            )
            if cell < self.intermediate:
                level = self._allowed[level]
            else:
                level = (free & (free.cumsum(1) == level[:, None] + 1)).argmax(1)
                free[np.arange(len(given)), level] = False
            second = second + (second >= first)
            pair = np.minimum(first, second), np.maximum(first, second)
            genomes[:, cell] = np.stack([level, *pair, op], -1)
        return genomes

    def to_choices(self, genome: Array) -> Choices:
        """Return the choices of one genome, shape (cells, 4), as ``NASFPNSpace.encode`` does."""
        choices: dict[int, int] = {}
        free = list(range(self.inputs))
        for cell, columns in enumerate(self._columns):
            level, first, second, op = map(int, genome[cell])
            remaining = self._allowed.tolist() if cell < self.intermediate else free
            values = (remaining.index(level), first, second - 1, op)
            choices.update({c: v for c, v in zip(columns, values, strict=True) if c is not None})
            if cell >= self.intermediate:
                free.remove(level)
        return tuple(choices[column] for column in range(len(self._sizes)))

    def random(self, count: int, rng: np.random.Generator) -> Array:
        """Return genomes drawn uniformly at random."""
        return self.from_choices(rng.integers(self._sizes, size=(count, len(self._sizes))))

    def mutate(self, genomes: Array, rng: np.random.Generator) -> Array:
        """Return a random neighbour of each genome, all equally likely."""
        kind, cell, slot, value = self._moves[rng.integers(len(self._moves), size=len(genomes))].T
        changed = genomes.copy()

        rows = np.flatnonzero(kind == _INPUT)
        at, pair = cell[rows], slice(FIRST, SECOND + 1)
        first, second = genomes[rows, at, FIRST], genomes[rows, at, SECOND]
        new = value[rows] + (value[rows] >= first)
        new += new >= second  # the value counts the nodes that the cell does not read
        kept = np.where(slot[rows] == 0, second, first)
        changed[rows, at, pair] = np.sort(np.stack([kept, new], -1), -1)

        rows = np.flatnonzero(kind == _OP)
        op = genomes[rows, cell[rows], OP] + 1 + value[rows]
        changed[rows, cell[rows], OP] = op % len(self.space.ops)

        rows = np.flatnonzero(kind == _LEVEL)
        place = (genomes[rows, cell[rows], LEVEL, None] == self._allowed).argmax(-1)
        level = self._allowed[(place + 1 + value[rows]) % len(self._allowed)]
        changed[rows, cell[rows], LEVEL] = level

        rows = np.flatnonzero(kind == _SWAP)
        one, two = cell[rows], slot[rows]
        changed[rows, one, LEVEL] = genomes[rows, two, LEVEL]
        changed[rows, two, LEVEL] = genomes[rows, one, LEVEL]
        return changed

    def cross(self, a: Array, b: Array, rng: np.random.Generator) -> Array:
        """Return a child of each pair: cells of either, the output levels all of one of them."""
        child = np.where(rng.random((len(a), self.cells, 1)) < 0.5, a, b)
        one = rng.random((len(a), 1)) < 0.5
        outputs = slice(self.intermediate, None)
        child[:, outputs, LEVEL] = np.where(one, a[:, outputs, LEVEL], b[:, outputs, LEVEL])
        return child

    @cached_property
    def _moves(self) -> Array:
        """All moves, which are as many for each genome: kind, cell, slot (or cell), value."""
        moves = []
        for cell in range(self.cells):
            for value in range(self.inputs + cell - 2):
                moves += [(_INPUT, cell, 0, value), (_INPUT, cell, 1, value)]
            moves += [(_OP, cell, 0, value) for value in range(len(self.space.ops) - 1)]
            if cell < self.intermediate:
                moves += [(_LEVEL, cell, 0, value) for value in range(len(self._allowed) - 1)]
        swaps = combinations(range(self.intermediate, self.cells), 2)
        moves += [(_SWAP, one, two, 0) for one, two in swaps]
        return np.asarray(moves, np.int64)

    def facts(self, genomes: Array) -> Array:
        """Return what each cell is, as zeros and ones.

        Two genomes that are one mutation of an input, an op or a level apart differ in two of
        them.

        Returns:
            Shape (genomes, facts), float64: for each cell its level, its op and the nodes it
            reads.
        """
        return self._cells(genomes).facts()

    def graph(self, genomes: Array) -> Array:
        """Return what the graphs are like (:meth:`controllers.graphs.Cells.graph`)."""
        return self._cells(genomes).graph()

    def _cells(self, genomes: Array) -> Cells:
        nodes = np.arange(self.inputs + self.cells)
        reads = (genomes[..., FIRST, None] == nodes) | (genomes[..., SECOND, None] == nodes)
        return Cells(genomes[..., LEVEL], genomes[..., OP], reads, len(self.space.ops))
