"""A search space that has every shipped genome: its decisions, size, samples and changes.

Moves from a genome to its neighbours are in ``wide_moves.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations, product
from math import comb, factorial, prod
from typing import TYPE_CHECKING, ClassVar

from search_space.base import Decision, SearchSpace
from search_space.errors import GenomeError
from search_space.genome import PYRAMID_LEVELS, Genome, Level, MergingCell
from search_space.membership import WIDE_MEMBERSHIP
from search_space.rules import ARITY
from search_space.wide_moves import KINDS, crossed

if TYPE_CHECKING:
    import numpy as np

PASS = "identity"  # the op without a convolution, for outputs only


@dataclass(frozen=True)
class WideSpace(SearchSpace):
    """All pyramids of up to a number of intermediate cells and one output cell per level.

    A ``sum`` or ``weighted`` cell has from two inputs to as many as there are levels, an
    ``attention`` cell has two, and an output cell may be an ``identity`` of one node. An
    intermediate ``identity`` would only repeat a node, so there is none. Every shipped genome is
    in the space of its levels: BiFPN and PANet have three intermediate cells, the fully connected
    pyramid five inputs a cell. Every genome of :class:`search_space.space.NASFPNSpace` with the
    same levels, ops and intermediate levels, and with no more intermediate cells, is in it, too.

    The decisions are the same for all genomes, so some choices say nothing in some genomes:

    - Slots for intermediate cells that the genome does not use (``cells`` says how many it uses,
      the first ones), and inputs that a cell does not have. They are ignored; :meth:`encode`
      gives 0.
    - A cell reads unused slot k (from 0): it reads the k-th input level instead, counted from 0
      and modulo the number of levels.
    - A cell reads a node twice: the later input is the next node that the cell does not read yet.
      Node 0 comes after the last node before the cell.

    Even choices give 0 to ``intermediate_cells`` intermediate cells equally often, and every op
    that a cell may have equally often: an output is an ``identity`` with probability 1/4. Because
    each further input is a decision of its own, half of the ``sum`` and ``weighted`` cells have two
    inputs, a quarter has three, and so on. :meth:`sample` draws from the same distribution, except
    that all sets of inputs of one size are equally likely. It is not uniform over genomes: most
    genomes have as many cells and inputs as possible.

    Attributes, beside those of :class:`search_space.base.SearchSpace`:
        intermediate_cells: greatest number of cells before the output cells.
        ops: ops allowed for output cells and, but for ``identity``, for intermediate cells.

    Raises:
        GenomeError: a parameter breaks a rule; the path is the parameter's name.
    """

    kind: ClassVar[str] = "wide"

    levels: tuple[Level, ...] = tuple(map(Level, PYRAMID_LEVELS))
    intermediate_cells: int = 4
    intermediate_levels: tuple[Level, ...] | None = None
    ops: tuple[str, ...] = tuple(ARITY)

    def __post_init__(self) -> None:
        self._read_fields(tuple(ARITY))
        if self.intermediate_cells and not self._inner_ops:
            rule = f"ops must have one for intermediate cells, which {PASS} is not"
            raise GenomeError(rule, self.ops, "ops")

    @property
    def rules(self) -> Sequence[Callable[[SearchSpace, Genome], None]]:
        return WIDE_MEMBERSHIP

    def ops_of(self, index: int, cells: int) -> tuple[str, ...]:
        return self._inner_ops if index < cells - len(self.levels) else self.ops

    def counts(self, op: str) -> range:
        """Return the numbers of inputs that a cell with this op may have."""
        least, most = ARITY[op]
        return range(least, (most or len(self.levels)) + 1)

    def decisions(self) -> tuple[Decision, ...]:
        """Return the decisions: ``cells``, then those of each slot.

        The slots are ``cell0``, ``cell1``, ... for intermediate cells and ``output0``, ... for
        outputs. Each has ``level``, ``op``, ``input1``, ``input2`` and, for each further input,
        ``more3`` and ``input3`` and so on: a cell has a third input if ``more3`` is 1, and a fourth
        if ``more4`` is 1 as well. The level of an output counts the levels that have no output
        yet. An input counts the input levels and the slots before its own, in this order, unused
        slots included. If only one value is possible, there is no decision. Every combination of
        choices is a genome.
        """
        return self._decisions

    @cached_property
    def _decisions(self) -> tuple[Decision, ...]:
        sizes = [("cells", self.intermediate_cells + 1)]
        for slot, name in enumerate(self.names):
            ops = self.ops_of(slot, self.slots)
            inner = slot < self.intermediate_cells
            levels = len(self._allowed_levels) if inner else self.slots - slot
            sizes += [(f"{name}.level", levels), (f"{name}.op", len(ops))]
            for number in range(1, max((self.counts(op)[-1] for op in ops), default=0) + 1):
                sizes += [(f"{name}.more{number}", 2)] if number > 2 else []
                sizes += [(f"{name}.input{number}", len(self.levels) + slot)]
        return tuple(Decision(name, size) for name, size in sizes if size > 1)

    def size(self) -> int:
        total = 0
        for used in range(self.intermediate_cells + 1):
            cells = used + len(self.levels)
            merges = (
                sum(
                    comb(len(self.levels) + index, count)
                    for op in self.ops_of(index, cells)
                    for count in self.counts(op)
                )
                for index in range(cells)
            )
            total += prod(merges) * len(self._allowed_levels) ** used
        return total * factorial(len(self.levels))

    def decode(self, choices: Mapping[str, int]) -> Genome:
        plain = self._plain(choices)
        used = plain.get("cells", 0)
        remaining = list(self.levels)
        cells: list[MergingCell] = []
        for slot in (*range(used), *range(self.intermediate_cells, self.slots)):
            chosen = [plain.get(f"{self.names[slot]}.{field}", 0) for field in ("level", "op")]
            inner = slot < self.intermediate_cells
            level = self._allowed_levels[chosen[0]] if inner else remaining.pop(chosen[0])
            op = self.ops_of(slot, self.slots)[chosen[1]]
            inputs: list[int] = []
            for number in range(1, self.counts(op)[-1] + 1):
                if number > 2 and not plain[f"{self.names[slot]}.more{number}"]:
                    break
                node = self._node(plain[f"{self.names[slot]}.input{number}"], used)
                while node in inputs:
                    node = (node + 1) % (len(self.levels) + len(cells))
                inputs.append(node)
            cells.append(MergingCell(level, op, tuple(sorted(inputs))))
        return Genome(tuple(cells), self.levels)

    def encode(self, genome: Genome) -> dict[str, int]:
        genome = self._with_ascending_inputs(genome)
        slots = self.slots_of(genome)
        numbers = (*range(len(self.levels)), *(len(self.levels) + slot for slot in slots))
        given = {"cells": len(genome.cells) - len(self.levels)}
        remaining = list(self.levels)
        for slot, cell in zip(slots, genome.cells, strict=True):
            name, inner = self.names[slot], slot < self.intermediate_cells
            given[f"{name}.level"] = (self._allowed_levels if inner else remaining).index(
                cell.level
            )
            given[f"{name}.op"] = self.ops_of(slot, self.slots).index(cell.op)
            for number, node in enumerate(cell.inputs, start=1):
                given[f"{name}.input{number}"] = numbers[node]
                given[f"{name}.more{number}"] = 1
            if not inner:
                remaining.remove(cell.level)
        return {decision.name: given.get(decision.name, 0) for decision in self.decisions()}

    def sample(self, rng: np.random.Generator) -> Genome:
        """Return a random genome, from the distribution that the class describes."""
        used = int(rng.integers(self.intermediate_cells + 1))
        inner = rng.integers(len(self._allowed_levels), size=used)
        levels = [self._allowed_levels[i] for i in inner]
        levels += [self.levels[i] for i in rng.permutation(len(self.levels))]
        cells = []
        for index, level in enumerate(levels):
            ops = self.ops_of(index, len(levels))
            op = ops[int(rng.integers(len(ops)))]
            counts = self.counts(op)
            count = min(counts[0] + int(rng.geometric(0.5)) - 1, counts[-1])
            inputs = rng.choice(len(self.levels) + index, count, replace=False)
            cells.append(MergingCell(level, op, tuple(sorted(map(int, inputs)))))
        return Genome(tuple(cells), self.levels)

    def enumerate(self) -> Iterator[Genome]:
        for used in range(self.intermediate_cells + 1):
            cells = used + len(self.levels)
            merges = (tuple(self._merges(index, cells)) for index in range(cells))
            for chosen in product(*merges):
                for free in product(self._allowed_levels, repeat=used):
                    for order in permutations(self.levels):
                        yield Genome(
                            tuple(
                                MergingCell(level, *merge)
                                for level, merge in zip(free + order, chosen, strict=True)
                            ),
                            self.levels,
                        )

    def neighbours(self, genome: Genome) -> Iterator[Genome]:
        """Return an iterator over all genomes of the space that are one change away, each once.

        The changes are those of ``wide_moves.KINDS``. The relation is symmetric.

        Raises:
            GenomeError: the genome is outside the space.
        """
        genome = self._with_ascending_inputs(genome)
        return (move() for kind in KINDS for move in kind(self, genome))

    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """Return a random one of the :meth:`neighbours`.

        Its kind (``wide_moves.KINDS``) is one of those that the genome has, all equally likely.
        Then all changes of this kind are. Were all neighbours equally likely, most genomes would
        get ever more cells, because there are more ways to add one than to remove one.
        """
        genome = self._with_ascending_inputs(genome)
        for kind in rng.permutation(len(KINDS)):
            if moves := list(KINDS[int(kind)](self, genome)):
                return moves[int(rng.integers(len(moves)))]()
        raise AssertionError("an output can always change places with another one")

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome:
        """Return a random child of two genomes.

        Number of intermediate cells and order of the output levels are those of either parent.
        Each cell is that of either parent in its slot, or of the only one that uses the slot. An
        input that the child does not have becomes another one as the class says for choices.

        Raises:
            GenomeError: a parent is outside the space.
        """
        return crossed(self, a, b, rng)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name of each slot, with which the names of its decisions start."""
        inner = (f"cell{slot}" for slot in range(self.intermediate_cells))
        return (*inner, *(f"output{slot}" for slot in range(len(self.levels))))

    @property
    def _inner_ops(self) -> tuple[str, ...]:
        return tuple(op for op in self.ops if op != PASS)

    def _node(self, chosen: int, used: int) -> int:
        """Return the number in the genome of the node with a number by slot."""
        slot = chosen - len(self.levels)
        if used <= slot < self.intermediate_cells:
            return slot % len(self.levels)
        return chosen - (self.intermediate_cells - used) * (slot >= used)

    def _merges(self, index: int, cells: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield each op and inputs that a cell may have."""
        for op in self.ops_of(index, cells):
            for count in self.counts(op):
                for inputs in combinations(range(len(self.levels) + index), count):
                    yield op, inputs
