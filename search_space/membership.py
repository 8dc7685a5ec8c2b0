"""What a genome of one :class:`search_space.space.NASFPNSpace` obeys on top of ``rules.py``.

One named function per rule, as there: nothing when it holds, else GenomeError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from search_space.errors import GenomeError
from search_space.genome import Genome

if TYPE_CHECKING:
    from search_space.space import NASFPNSpace


def levels_are_the_spaces(space: NASFPNSpace, genome: Genome) -> None:
    """The input levels are those of the space."""
    if genome.levels != space.levels:
        expected = tuple(map(int, space.levels))
        raise GenomeError(f"the levels are {expected}", tuple(map(int, genome.levels)), "levels")


def cells_are_as_many(space: NASFPNSpace, genome: Genome) -> None:
    """There are as many cells as the space has: intermediate ones and one per level."""
    if len(genome.cells) != space.cells:
        raise GenomeError(f"there are {space.cells} cells", len(genome.cells), "cells")


def ops_are_open(space: NASFPNSpace, genome: Genome) -> None:
    """Every op is one of the space's."""
    for index, cell in enumerate(genome.cells):
        if cell.op not in space.ops:
            raise GenomeError(f"an op is one of {space.ops}", cell.op, f"cells[{index}].op")


def inputs_are_pairs(space: NASFPNSpace, genome: Genome) -> None:
    """Every cell has two inputs."""
    for index, cell in enumerate(genome.cells):
        if len(cell.inputs) != 2:
            raise GenomeError("a cell has two inputs", cell.inputs, f"cells[{index}].inputs")


def intermediate_levels_are_open(space: NASFPNSpace, genome: Genome) -> None:
    """Intermediate cells, which come first, sit on levels open to them."""
    allowed = tuple(map(int, space.intermediate_levels or ()))
    for index, cell in enumerate(genome.cells[: space.intermediate_cells]):
        if cell.level not in allowed:
            raise GenomeError(
                f"an intermediate cell's level is one of {allowed}",
                int(cell.level),
                f"cells[{index}].level",
            )


def outputs_come_last(space: NASFPNSpace, genome: Genome) -> None:
    """The cells after the intermediate ones are the outputs, one per level."""
    outputs = set(genome.outputs.values())
    for index in range(space.intermediate_cells, len(genome.cells)):
        if len(genome.levels) + index not in outputs:
            raise GenomeError(
                f"from cell {space.intermediate_cells} on, each cell is an output",
                f"a cell on {genome.cells[index].level} before its output",
                f"cells[{index}].level",
            )


def gate_is_the_first_input(space: NASFPNSpace, genome: Genome) -> None:
    """An attention cell whose inputs tie in level, where order matters, has them ascending."""
    levels = genome.node_levels
    for index, cell in enumerate(genome.cells):
        if cell.op == "attention":
            first, second = cell.inputs
            if first > second and levels[first] == levels[second]:
                raise GenomeError(
                    "attention inputs on one level are ascending",
                    cell.inputs,
                    f"cells[{index}].inputs",
                )


MEMBERSHIP: tuple[Callable[[NASFPNSpace, Genome], None], ...] = (
    levels_are_the_spaces,
    cells_are_as_many,
    ops_are_open,
    inputs_are_pairs,
    intermediate_levels_are_open,
    outputs_come_last,
    gate_is_the_first_input,
)
