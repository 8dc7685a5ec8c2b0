"""Many genomes of any space as one integer array, as ``arrays.py`` does for the paper's space.

Row (genome, slot) has the index of the cell's level, the index of its op, and for each node a 1 if
the cell reads it. In an unused slot the level is -1 and all others are 0. Equal rows are equal
genomes. Changes are those of the space itself, so they take about 0.3 ms for each genome.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from controllers.graphs import Array, Cells
from controllers.samplers import Choices
from search_space import Genome, MergingCell, SearchSpace

_REMEMBERED = 1 << 14  # genomes; a study's are read again for each proposal


class SlotArrays:
    """Operations on arrays of genomes of one space.

    Args:
        space: the space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._names = tuple(decision.name for decision in space.decisions())
        self._shape = space.slots, 2 + len(space.levels) + space.slots
        self._of_choices = lru_cache(_REMEMBERED)(self._read_choices)
        self._of_row = lru_cache(_REMEMBERED)(self._read_row)

    def __reduce__(self) -> tuple[type[SlotArrays], tuple[SearchSpace]]:
        return SlotArrays, (self.space,)  # what is remembered changes no result

    def from_choices(self, choices: Sequence[Choices]) -> Array:
        """Return the genomes of choices, shape (genomes, decisions)."""
        return self._stack(self._of_choices(tuple(row)) for row in choices)

    def to_choices(self, genome: Array) -> Choices:
        """Return the choices of one genome, shape (slots, columns), as ``encode`` does."""
        return tuple(self.space.encode(self.genome(genome)).values())

    def genome(self, row: Array) -> Genome:
        """Return the genome of one row, shape (slots, columns)."""
        return self._of_row(row.tobytes())

    def random(self, count: int, rng: np.random.Generator) -> Array:
        """Return genomes drawn by ``sample``."""
        return self._stack(self._row(self.space.sample(rng)) for _ in range(count))

    def mutate(self, genomes: Array, rng: np.random.Generator) -> Array:
        """Return a mutant of each genome, drawn by ``mutate``."""
        parents = map(self.genome, genomes)
        return self._stack(self._row(self.space.mutate(parent, rng)) for parent in parents)

    def cross(self, a: Array, b: Array, rng: np.random.Generator) -> Array:
        """Return a child of each pair, drawn by ``crossover``."""
        pairs = zip(map(self.genome, a), map(self.genome, b), strict=True)
        return self._stack(self._row(self.space.crossover(*pair, rng)) for pair in pairs)

    def facts(self, genomes: Array) -> Array:
        """Return what each cell is (:meth:`controllers.graphs.Cells.facts`)."""
        return self._cells(genomes).facts()

    def graph(self, genomes: Array) -> Array:
        """Return what the graphs are like (:meth:`controllers.graphs.Cells.graph`)."""
        return self._cells(genomes).graph()

    def _cells(self, genomes: Array) -> Cells:
        levels, ops, reads = genomes[..., 0], genomes[..., 1], genomes[..., 2:] > 0
        return Cells(levels, ops, reads, len(self.space.ops))

    def _stack(self, rows: Iterable[Array]) -> Array:
        return np.asarray(list(rows), np.int64).reshape(-1, *self._shape)

    def _read_choices(self, choices: Choices) -> Array:
        return self._row(self.space.decode(dict(zip(self._names, choices, strict=True))))

    def _row(self, genome: Genome) -> Array:
        row = np.zeros(self._shape, np.int64)
        row[:, 0] = -1
        slots, levels = self.space.slots_of(genome), len(self.space.levels)
        columns = (*range(2, 2 + levels), *(2 + levels + slot for slot in slots))
        for slot, cell in zip(slots, genome.cells, strict=True):
            row[slot, 0] = self.space.levels.index(cell.level)
            row[slot, 1] = self.space.ops.index(cell.op)
            row[slot, [columns[node] for node in cell.inputs]] = 1
        return row

    def _read_row(self, row: bytes) -> Genome:
        slots = np.frombuffer(row, np.int64).reshape(self._shape)
        used = slots[:, 0] >= 0
        there = np.concatenate([np.ones(len(self.space.levels), bool), used])
        cells = [
            MergingCell(
                self.space.levels[slot[0]],
                self.space.ops[slot[1]],
                tuple(np.flatnonzero(slot[2:][there])),
            )
            for slot in slots[used]
        ]
        return Genome(tuple(cells), self.space.levels)
