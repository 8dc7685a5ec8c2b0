"""What every search space has: decisions, size, samples, and changes of genomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from search_space.errors import GenomeError
from search_space.genome import Genome, Level, MergingCell, to_levels
from search_space.rules import as_int, levels_ascend

if TYPE_CHECKING:
    import numpy as np

MAX_INTERMEDIATE = 50  # intermediate cells


@dataclass(frozen=True)
class Decision:
    """One categorical choice: an integer from 0 to ``size - 1``.

    Attributes:
        name: starts with what it is about, such as ``cell0.op``; see the ``decisions`` method of
            each space.
        size: number of choices, 2 or more.
    """

    name: str
    size: int


@dataclass(frozen=True)
class SearchSpace(ABC):
    """A set of genomes that a search chooses from.

    A genome of a space has some intermediate cells, and then one output cell per level, in any
    order of the levels. The places of cells are called slots: first ``intermediate_cells`` slots
    for intermediate cells, then one slot for each output cell. A space may leave slots unused.

    The order of a cell's inputs is not a decision: the space's genomes have ascending inputs.
    Every method also accepts a genome whose inputs are in another order, unless that changes what
    the genome computes; the genomes that a method returns have ascending inputs.

    Subclasses are frozen dataclasses with the attributes below but ``kind`` as fields.

    Attributes:
        kind: the name of the kind of space on the command line.
        levels: input and output levels, ascending.
        intermediate_cells: number of slots for intermediate cells.
        intermediate_levels: levels allowed for intermediate cells; None becomes all but the
            finest.
        ops: ops that cells may have.
    """

    kind: ClassVar[str]

    # Each subclass gives them defaults of its own.
    levels: tuple[Level, ...]
    intermediate_cells: int
    intermediate_levels: tuple[Level, ...] | None
    ops: tuple[str, ...]

    @property
    def slots(self) -> int:
        """Number of slots: the cells that a genome has at most."""
        return self.intermediate_cells + len(self.levels)

    @abstractmethod
    def ops_of(self, index: int, cells: int) -> tuple[str, ...]:
        """Return the ops that a cell may have.

        Args:
            index: of the cell in a genome.
            cells: number of cells of the genome.
        """

    def decisions(self) -> tuple[Decision, ...]:
        """Return the decisions in a fixed order.

        They are the same for every genome, and every combination of choices is a genome.
        """
        return self._decisions

    @cached_property
    @abstractmethod
    def _decisions(self) -> tuple[Decision, ...]: ...

    @abstractmethod
    def size(self) -> int:
        """Return the number of genomes, without regard to the order of a cell's inputs.

        Genomes that differ only in the numbering of their cells count as different ones.
        """

    @abstractmethod
    def decode(self, choices: Mapping[str, int]) -> Genome:
        """Return the genome that the choices describe.

        Args:
            choices: the name of every decision with its choice, an integer of Python or numpy.

        Raises:
            GenomeError: a decision is missing or unknown, or a choice is no integer or out of
                range.
        """

    @abstractmethod
    def encode(self, genome: Genome) -> dict[str, int]:
        """Return the choices, by name, that :meth:`decode` turns into ``genome``.

        The decoded genome has ascending inputs and otherwise equals ``genome``. The names have the
        order of the decisions.

        Raises:
            GenomeError: the genome is outside the space.
        """

    @property
    @abstractmethod
    def rules(self) -> Sequence[Callable[[SearchSpace, Genome], None]]:
        """The membership rules (``membership.py``)."""

    def violation(self, genome: Genome) -> GenomeError | None:
        """Return the error of the first membership rule that the genome breaks, None if none."""
        try:
            for rule in self.rules:
                rule(self, genome)
        except GenomeError as error:
            return error
        return None

    def contains(self, genome: Genome) -> bool:
        """Return whether the genome belongs to the space."""
        return self.violation(genome) is None

    def slots_of(self, genome: Genome) -> tuple[int, ...]:
        """Return the slot of each cell of a genome of the space."""
        used = len(genome.cells) - len(self.levels)
        return (*range(used), *range(self.intermediate_cells, self.slots))

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Genome:
        """Return a random genome."""

    @abstractmethod
    def enumerate(self) -> Iterator[Genome]:
        """Yield every genome of the space once; only practical for small spaces."""

    @abstractmethod
    def neighbours(self, genome: Genome) -> Iterator[Genome]:
        """Return an iterator over all genomes of the space that are one change away, each once.

        The relation is symmetric.

        Raises:
            GenomeError: the genome is outside the space.
        """

    @abstractmethod
    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """Return a random one of the :meth:`neighbours`.

        Raises:
            GenomeError: the genome is outside the space.
        """

    @abstractmethod
    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome:
        """Return a random child of two genomes; it is in the space.

        Raises:
            GenomeError: a parent is outside the space.
        """

    def _read_fields(self, known_ops: Sequence[str]) -> None:
        """Check the four fields of a new space, and set them to plain values.

        Raises:
            GenomeError: a parameter breaks a rule; the path is the parameter's name.
        """
        levels = to_levels(self.levels, "levels")
        levels_ascend(levels)
        given = levels[1:] if self.intermediate_levels is None else self.intermediate_levels
        allowed = to_levels(given, "intermediate_levels")
        number = as_int(self.intermediate_cells)
        if number is None or not 0 <= number <= MAX_INTERMEDIATE:
            raise GenomeError(
                f"the number of intermediate cells must be an integer from 0 to {MAX_INTERMEDIATE}",
                self.intermediate_cells,
                "intermediate_cells",
            )
        ops = tuple(self.ops)
        _check_subset(tuple(map(int, allowed)), tuple(map(int, levels)), "intermediate_levels")
        _check_subset(ops, known_ops, "ops")
        for name, value in zip(FIELDS, (levels, number, allowed, ops), strict=True):
            object.__setattr__(self, name, value)

    @property
    def _allowed_levels(self) -> tuple[Level, ...]:
        """The levels allowed for intermediate cells; never None, unlike the attribute's type."""
        return self.intermediate_levels or ()

    def _plain(self, choices: Mapping[str, int]) -> dict[str, int]:
        """Check choices and return them as plain integers."""
        sizes = {decision.name: decision.size for decision in self.decisions()}
        for name in sorted(sizes.keys() ^ choices.keys()):
            raise GenomeError("choices must name every decision and no other", name, "choices")
        plain = {}
        for name, size in sizes.items():
            if (number := as_int(choices[name])) is None or not 0 <= number < size:
                rule = f"a choice must be an integer from 0 to {size - 1}"
                raise GenomeError(rule, choices[name], name)
            plain[name] = number
        return plain

    def _with_ascending_inputs(self, genome: Genome) -> Genome:
        """Check that the genome is in the space and return it with ascending inputs."""
        error = self.violation(genome)
        if error is not None:
            raise error
        ordered = [tuple(sorted(cell.inputs)) for cell in genome.cells]
        if all(cell.inputs == inputs for cell, inputs in zip(genome.cells, ordered, strict=True)):
            return genome
        pairs = zip(genome.cells, ordered, strict=True)
        cells = tuple(MergingCell(cell.level, cell.op, inputs) for cell, inputs in pairs)
        return Genome(cells, genome.levels)


# What a space is made from, and a study records of it.
FIELDS = tuple(field.name for field in fields(SearchSpace))


def _check_subset(values: Sequence[object], allowed: Sequence[object], name: str) -> None:
    if not values or len(set(values)) != len(values) or not set(values) <= set(allowed):
        rule = f"{name} must be one or more of {tuple(allowed)}, each once"
        raise GenomeError(rule, values, name)
