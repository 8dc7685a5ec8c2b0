"""The search space of the paper: its decisions, its size, and how to sample and change genomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations, product
from math import comb, factorial, prod
from typing import TYPE_CHECKING, ClassVar

from search_space.base import Decision, SearchSpace
from search_space.genome import PYRAMID_LEVELS, Genome, Level, MergingCell
from search_space.membership import MEMBERSHIP
from search_space.rules import ARITY

if TYPE_CHECKING:
    import numpy as np

PAIR_OPS = tuple(op for op, (least, _) in ARITY.items() if least == 2)

# A step from one genome to a neighbour: indices of cells, each with the cell that replaces it.
Move = tuple[tuple[int, MergingCell], ...]


@dataclass(frozen=True)
class NASFPNSpace(SearchSpace):
    """All pyramids of a number of intermediate cells followed by one output cell per level.

    Every cell merges two different earlier nodes. The level of each intermediate cell and
    the order of the output cells' levels are decisions. The defaults are the paper's space
    (NAS-FPN, section 3.1): two intermediate cells, neither on the finest level, and
    1,931,334,451,200,000 genomes.

    Attributes, beside those of :class:`search_space.base.SearchSpace`:
        intermediate_cells: number of cells before the output cells; no slot is unused.
        ops: ops allowed for every cell, from ``PAIR_OPS``.

    Raises:
        GenomeError: a parameter breaks a rule; the path is the parameter's name.
    """

    kind: ClassVar[str] = "paper"

    levels: tuple[Level, ...] = tuple(map(Level, PYRAMID_LEVELS))
    intermediate_cells: int = 2
    intermediate_levels: tuple[Level, ...] | None = None
    ops: tuple[str, ...] = ("sum", "attention")

    def __post_init__(self) -> None:
        self._read_fields(PAIR_OPS)

    @property
    def cells(self) -> int:
        """Number of cells of every genome."""
        return self.intermediate_cells + len(self.levels)

    def decisions(self) -> tuple[Decision, ...]:
        """Return the decisions in the order of the cells.

        Every combination of choices is a genome. Each choice is an index into the
        ascending values that remain: ``second`` counts the nodes other than ``first``,
        and the ``level`` of an output cell counts the levels that have no output yet. If
        only one value remains, there is no decision.
        """
        return self._decisions

    def size(self) -> int:
        pairs = prod(comb(len(self.levels) + i, 2) for i in range(self.cells))
        free = len(self._allowed_levels) ** self.intermediate_cells
        levels = free * factorial(len(self.levels))
        return int(pairs * levels * len(self.ops) ** self.cells)

    def decode(self, choices: Mapping[str, int]) -> Genome:
        plain = self._plain(choices)
        remaining = list(self.levels)
        cells = []
        for index in range(self.cells):
            choice, first, second, op = (plain.get(f"cell{index}.{f}") or 0 for f in _FIELDS)
            if self._is_intermediate(index):
                level = self._allowed_levels[choice]
            else:
                level = remaining.pop(choice)
            inputs = _ascending(first, second + (second >= first))
            cells.append(MergingCell(level, self.ops[op], inputs))
        return Genome(tuple(cells), self.levels)

    def encode(self, genome: Genome) -> dict[str, int]:
        genome = self._with_ascending_inputs(genome)
        names = {decision.name for decision in self.decisions()}
        remaining = list(self.levels)
        choices = {}
        for index, cell in enumerate(genome.cells):
            first, second = cell.inputs
            levels = self._allowed_levels if self._is_intermediate(index) else remaining
            values = (levels.index(cell.level), first, second - 1, self.ops.index(cell.op))
            choices.update({f"cell{index}.{f}": v for f, v in zip(_FIELDS, values, strict=True)})
            if not self._is_intermediate(index):
                remaining.remove(cell.level)
        return {name: value for name, value in choices.items() if name in names}

    @property
    def rules(self) -> Sequence[Callable[[SearchSpace, Genome], None]]:
        return MEMBERSHIP

    def ops_of(self, index: int, cells: int) -> tuple[str, ...]:
        return self.ops

    def sample(self, rng: np.random.Generator) -> Genome:
        """Return a random genome, all equally likely."""
        # Uniform choices suffice: 2 ** cells vectors of choices lead to every genome.
        return self.decode({d.name: int(rng.integers(d.size)) for d in self.decisions()})

    def enumerate(self) -> Iterator[Genome]:
        pairs = [combinations(range(len(self.levels) + i), 2) for i in range(self.cells)]
        for inputs in product(*pairs):
            for ops in product(self.ops, repeat=self.cells):
                for free in product(self._allowed_levels, repeat=self.intermediate_cells):
                    for order in permutations(self.levels):
                        yield Genome(
                            tuple(map(MergingCell, free + order, ops, inputs)), self.levels
                        )

    def neighbours(self, genome: Genome) -> Iterator[Genome]:
        """Return an iterator over all genomes of the space that are one change away, each once.

        A change replaces one input, one op or the level of one intermediate cell, or it
        swaps the levels of two output cells. The relation is symmetric.

        Raises:
            GenomeError: the genome is outside the space.
        """
        genome = self._with_ascending_inputs(genome)
        return (_apply(genome, move) for move in self._moves(genome))

    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """Return a random one of the :meth:`neighbours`, all equally likely."""
        genome = self._with_ascending_inputs(genome)
        moves = list(self._moves(genome))
        return _apply(genome, moves[int(rng.integers(len(moves)))])

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome:
        """Return a random child of two genomes.

        Each cell comes from either parent with equal probability. The levels of the
        output cells must stay a permutation, so all of them come from one parent.

        Raises:
            GenomeError: a parent is outside the space.
        """
        parents = self._with_ascending_inputs(a), self._with_ascending_inputs(b)
        order = parents[int(rng.integers(2))]
        cells = []
        for index in range(self.cells):
            cell = parents[int(rng.integers(2))].cells[index]
            level = cell.level if self._is_intermediate(index) else order.cells[index].level
            cells.append(MergingCell(level, cell.op, cell.inputs))
        return Genome(tuple(cells), self.levels)

    @cached_property
    def _decisions(self) -> tuple[Decision, ...]:
        return tuple(
            Decision(f"cell{index}.{field}", size)
            for index in range(self.cells)
            for field, size in zip(_FIELDS, self._sizes(index), strict=True)
            if size > 1
        )

    def _is_intermediate(self, index: int) -> bool:
        return index < self.intermediate_cells

    def _sizes(self, index: int) -> tuple[int, int, int, int]:
        """Return the number of choices for each field of a cell, one or more."""
        nodes = len(self.levels) + index
        intermediate = self._is_intermediate(index)
        levels = len(self._allowed_levels) if intermediate else self.cells - index
        return levels, nodes, nodes - 1, len(self.ops)

    def _moves(self, genome: Genome) -> Iterator[Move]:
        for index, cell in enumerate(genome.cells):
            for kept, new in product(cell.inputs, range(len(self.levels) + index)):
                if new not in cell.inputs:
                    yield ((index, MergingCell(cell.level, cell.op, _ascending(kept, new))),)
            for op in self.ops:
                if op != cell.op:
                    yield ((index, MergingCell(cell.level, op, cell.inputs)),)
            for level in self._allowed_levels if self._is_intermediate(index) else ():
                if level != cell.level:
                    yield ((index, MergingCell(level, cell.op, cell.inputs)),)
        for one, two in combinations(range(self.intermediate_cells, self.cells), 2):
            a, b = genome.cells[one], genome.cells[two]
            yield (
                (one, MergingCell(b.level, a.op, a.inputs)),
                (two, MergingCell(a.level, b.op, b.inputs)),
            )


_FIELDS = ("level", "first", "second", "op")


def _ascending(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)


def _apply(genome: Genome, move: Move) -> Genome:
    cells = list(genome.cells)
    for index, cell in move:
        cells[index] = cell
    return Genome(tuple(cells), genome.levels)
