"""The NAS-FPN search space as static named decisions, with its moves and its size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations, product
from math import comb, factorial, prod
from typing import TYPE_CHECKING

from search_space.errors import GenomeError
from search_space.genome import PYRAMID_LEVELS, Genome, Level, MergingCell, to_levels
from search_space.membership import MEMBERSHIP
from search_space.rules import ARITY, is_int, levels_ascend

if TYPE_CHECKING:
    import numpy as np

PAIR_OPS = tuple(op for op, (least, _) in ARITY.items() if least == 2)

# Cells by index with what stands there instead: one step from one genome to the next.
Move = tuple[tuple[int, MergingCell], ...]


@dataclass(frozen=True)
class Decision:
    """One categorical choice: an integer from 0 to ``size - 1``.

    Attributes:
        name: ``cell0.level``, ``cell0.first``, ``cell0.second`` or ``cell0.op``, with
            the cell's place in the genome.
        size: number of choices, 2 or more.
    """

    name: str
    size: int


@dataclass(frozen=True)
class NASFPNSpace:
    """All pyramids of some intermediate cells followed by one output cell per level.

    Every cell merges two different earlier nodes. Intermediate cells choose their
    level; output cells take the levels in an order that is chosen too. The defaults are
    the paper's space (NAS-FPN, section 3.1): two intermediate cells, none of them on
    the finest level, and 1,931,334,451,200,000 genomes.

    The order of a cell's two inputs is no choice: genomes of the space are written with
    ascending inputs. Where order changes nothing, ``contains``, ``encode`` and the moves
    take a genome in any order; the moves return ascending ones.

    Attributes:
        levels: input and output levels, ascending.
        intermediate_cells: how many cells come before the output cells.
        intermediate_levels: levels open to them; by default all but the finest.
        ops: ops open to every cell, among ``PAIR_OPS``.

    Raises:
        GenomeError: a parameter breaks a rule; the path is the parameter's name.
    """

    levels: tuple[Level, ...] = tuple(map(Level, PYRAMID_LEVELS))
    intermediate_cells: int = 2
    intermediate_levels: tuple[Level, ...] | None = None
    ops: tuple[str, ...] = ("sum", "attention")

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", to_levels(self.levels, "levels"))
        levels_ascend(self.levels)
        among = self.levels[1:] if self.intermediate_levels is None else self.intermediate_levels
        free = to_levels(among, "intermediate_levels")
        object.__setattr__(self, "intermediate_levels", free)
        object.__setattr__(self, "ops", tuple(self.ops))
        if not is_int(self.intermediate_cells) or self.intermediate_cells < 0:
            raise GenomeError(
                "the number of intermediate cells is an integer from 0",
                self.intermediate_cells,
                "intermediate_cells",
            )
        _is_a_choice(tuple(map(int, free)), tuple(map(int, self.levels)), "intermediate_levels")
        _is_a_choice(self.ops, PAIR_OPS, "ops")

    @property
    def cells(self) -> int:
        """Number of cells of every genome."""
        return self.intermediate_cells + len(self.levels)

    def decisions(self) -> tuple[Decision, ...]:
        """Return the decisions in the order of the cells; any combination is a genome.

        A choice that shrinks is an index among what remains: ``second`` among the nodes
        other than ``first``, an output cell's ``level`` among the levels without output
        so far, both ascending. What leaves one choice only is no decision.
        """
        return self._decisions

    def size(self) -> int:
        """Return the number of genomes, inputs being unordered."""
        pairs = prod(comb(len(self.levels) + i, 2) for i in range(self.cells))
        levels = len(self._free_levels) ** self.intermediate_cells * factorial(len(self.levels))
        return int(pairs * levels * len(self.ops) ** self.cells)

    def decode(self, choices: Mapping[str, int]) -> Genome:
        """Return the genome of one choice for every decision.

        Raises:
            GenomeError: a decision is missing, unknown or out of range.
        """
        sizes = {decision.name: decision.size for decision in self.decisions()}
        for name in sorted(sizes.keys() ^ choices.keys()):
            raise GenomeError("choices name every decision and no other", name, "choices")
        for name, size in sizes.items():
            if not 0 <= choices[name] < size:
                raise GenomeError(f"a choice is from 0 to {size - 1}", choices[name], name)
        remaining = list(self.levels)
        cells = []
        for index in range(self.cells):
            level, first, second, op = (choices.get(f"cell{index}.{f}", 0) for f in _FIELDS)
            at = self._free_levels[level] if self._is_inner(index) else remaining.pop(level)
            inputs = _ascending(first, second + (second >= first))
            cells.append(MergingCell(at, self.ops[op], inputs))
        return Genome(tuple(cells), self.levels)

    def encode(self, genome: Genome) -> dict[str, int]:
        """Return the choices, by name, that :meth:`decode` turns into ``genome``.

        What comes back has ascending inputs and is otherwise equal.

        Raises:
            GenomeError: the genome is outside the space.
        """
        genome = self._checked(genome)
        names = {decision.name for decision in self.decisions()}
        remaining = list(self.levels)
        choices = {}
        for index, cell in enumerate(genome.cells):
            first, second = cell.inputs
            among = self._free_levels if self._is_inner(index) else remaining
            values = (among.index(cell.level), first, second - 1, self.ops.index(cell.op))
            choices.update({f"cell{index}.{f}": v for f, v in zip(_FIELDS, values, strict=True)})
            if not self._is_inner(index):
                remaining.remove(cell.level)
        return {name: value for name, value in choices.items() if name in names}

    def violation(self, genome: Genome) -> GenomeError | None:
        """Return the first rule of membership that the genome breaks, None for a member."""
        try:
            for rule in MEMBERSHIP:
                rule(self, genome)
        except GenomeError as error:
            return error
        return None

    def contains(self, genome: Genome) -> bool:
        """Return whether the genome belongs to the space."""
        return self.violation(genome) is None

    def sample(self, rng: np.random.Generator) -> Genome:
        """Return a genome, all equally likely: 2 ** cells vectors of choices lead to each."""
        return self.decode({d.name: int(rng.integers(d.size)) for d in self.decisions()})

    def enumerate(self) -> Iterator[Genome]:
        """Yield every genome once; for small spaces."""
        pairs = [combinations(range(len(self.levels) + i), 2) for i in range(self.cells)]
        for inputs in product(*pairs):
            for ops in product(self.ops, repeat=self.cells):
                for free in product(self._free_levels, repeat=self.intermediate_cells):
                    for order in permutations(self.levels):
                        yield Genome(
                            tuple(map(MergingCell, free + order, ops, inputs)), self.levels
                        )

    def neighbours(self, genome: Genome) -> Iterator[Genome]:
        """Yield every genome of the space that is one change away, each once.

        A change replaces one input, an op or an intermediate cell's level, or swaps the
        levels of two output cells. The relation is symmetric.

        Raises:
            GenomeError: the genome is outside the space.
        """
        genome = self._checked(genome)
        return (_apply(genome, move) for move in self._moves(genome))

    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """Return one of :meth:`neighbours`, all equally likely."""
        genome = self._checked(genome)
        moves = list(self._moves(genome))
        return _apply(genome, moves[int(rng.integers(len(moves)))])

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome:
        """Return a child of two genomes.

        Each cell is that of either parent, evenly; the levels of the output cells, which
        must stay a permutation, are in the order of one of the two.

        Raises:
            GenomeError: a parent is outside the space.
        """
        parents = self._checked(a), self._checked(b)
        order = parents[int(rng.integers(2))]
        cells = []
        for index in range(self.cells):
            cell = parents[int(rng.integers(2))].cells[index]
            level = cell.level if self._is_inner(index) else order.cells[index].level
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

    @property
    def _free_levels(self) -> tuple[Level, ...]:
        return self.intermediate_levels or ()

    def _is_inner(self, index: int) -> bool:
        return index < self.intermediate_cells

    def _sizes(self, index: int) -> tuple[int, int, int, int]:
        nodes = len(self.levels) + index
        levels = len(self._free_levels) if self._is_inner(index) else self.cells - index
        return levels, nodes, nodes - 1, len(self.ops)

    def _checked(self, genome: Genome) -> Genome:
        error = self.violation(genome)
        if error is not None:
            raise error
        cells = (MergingCell(c.level, c.op, _ascending(*c.inputs)) for c in genome.cells)
        return Genome(tuple(cells), genome.levels)

    def _moves(self, genome: Genome) -> Iterator[Move]:
        for index, cell in enumerate(genome.cells):
            for kept, new in product(cell.inputs, range(len(self.levels) + index)):
                if new not in cell.inputs:
                    yield ((index, MergingCell(cell.level, cell.op, _ascending(kept, new))),)
            for op in self.ops:
                if op != cell.op:
                    yield ((index, MergingCell(cell.level, op, cell.inputs)),)
            for level in self._free_levels if self._is_inner(index) else ():
                if level != cell.level:
                    yield ((index, MergingCell(level, cell.op, cell.inputs)),)
        for one, two in combinations(range(self.intermediate_cells, self.cells), 2):
            a, b = genome.cells[one], genome.cells[two]
            yield (
                (one, MergingCell(b.level, a.op, a.inputs)),
                (two, MergingCell(a.level, b.op, b.inputs)),
            )


_FIELDS = ("level", "first", "second", "op")


def _is_a_choice(values: Sequence[object], among: Sequence[object], name: str) -> None:
    if not values or len(set(values)) != len(values) or not set(values) <= set(among):
        raise GenomeError(f"one or more of {tuple(among)}, each once", values, name)


def _ascending(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)


def _apply(genome: Genome, move: Move) -> Genome:
    cells = list(genome.cells)
    for index, cell in move:
        cells[index] = cell
    return Genome(tuple(cells), genome.levels)
