"""The rules of the search spaces, in addition to those of ``rules.py``.

One function for each rule, as there: it returns nothing if the rule holds and raises
GenomeError otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from search_space.errors import GenomeError
from search_space.genome import Genome

if TYPE_CHECKING:
    from search_space.base import SearchSpace


def levels_match_space(space: SearchSpace, genome: Genome) -> None:
    """The input levels are those of the space."""
    if genome.levels != space.levels:
        expected = tuple(map(int, space.levels))
        raise GenomeError(f"levels must be {expected}", tuple(map(int, genome.levels)), "levels")


def cell_count_matches_space(space: SearchSpace, genome: Genome) -> None:
    """The number of cells is that of the space: the intermediate cells and one per level."""
    if len(genome.cells) != space.slots:
        rule = f"the number of cells must be {space.slots}"
        raise GenomeError(rule, len(genome.cells), "cells")


def cells_fit_in_slots(space: SearchSpace, genome: Genome) -> None:
    """There is a cell for each level, and intermediate cells are no more than their slots."""
    least, most = len(space.levels), space.slots
    if not least <= len(genome.cells) <= most:
        rule = f"the number of cells must be from {least} to {most}"
        raise GenomeError(rule, len(genome.cells), "cells")


def ops_are_allowed(space: SearchSpace, genome: Genome) -> None:
    """Every op is one of those that the space allows for the cell."""
    for index, cell in enumerate(genome.cells):
        ops = space.ops_of(index, len(genome.cells))
        if cell.op not in ops:
            raise GenomeError(f"an op must be one of {ops}", cell.op, f"cells[{index}].op")


def inputs_are_at_most_levels(space: SearchSpace, genome: Genome) -> None:
    """No cell has more inputs than there are levels."""
    most = len(space.levels)
    for index, cell in enumerate(genome.cells):
        if len(cell.inputs) > most:
            rule = f"a cell must have at most {most} inputs"
            raise GenomeError(rule, cell.inputs, f"cells[{index}].inputs")


def inputs_are_pairs(space: SearchSpace, genome: Genome) -> None:
    """Every cell has two inputs."""
    for index, cell in enumerate(genome.cells):
        if len(cell.inputs) != 2:
            raise GenomeError("a cell must have two inputs", cell.inputs, f"cells[{index}].inputs")


def intermediate_levels_are_allowed(space: SearchSpace, genome: Genome) -> None:
    """Each of the intermediate cells, which come first, is on an allowed level."""
    allowed = tuple(map(int, space.intermediate_levels or ()))
    for index, cell in enumerate(genome.cells[: -len(space.levels)]):
        if cell.level not in allowed:
            raise GenomeError(
                f"an intermediate cell's level must be one of {allowed}",
                int(cell.level),
                f"cells[{index}].level",
            )


def outputs_come_last(space: SearchSpace, genome: Genome) -> None:
    """Every cell after the intermediate ones is the output of its level."""
    outputs = set(genome.outputs.values())
    first = len(genome.cells) - len(space.levels)
    for index in range(first, len(genome.cells)):
        if len(genome.levels) + index not in outputs:
            raise GenomeError(
                f"every cell from cell {first} on must be an output",
                f"a cell on {genome.cells[index].level} before its output",
                f"cells[{index}].level",
            )


def tied_attention_inputs_ascend(space: SearchSpace, genome: Genome) -> None:
    """If both inputs of an attention cell have the same level, they are ascending.

    Only there does their order matter: the first input is the gate.
    """
    levels = genome.node_levels
    for index, cell in enumerate(genome.cells):
        if cell.op == "attention":
            first, second = cell.inputs
            if first > second and levels[first] == levels[second]:
                raise GenomeError(
                    "attention inputs on one level must be ascending",
                    cell.inputs,
                    f"cells[{index}].inputs",
                )


# What a space checks, in this order; a rule may assume those before it.
MEMBERSHIP: tuple[Callable[[SearchSpace, Genome], None], ...] = (
    levels_match_space,
    cell_count_matches_space,
    ops_are_allowed,
    inputs_are_pairs,
    intermediate_levels_are_allowed,
    outputs_come_last,
    tied_attention_inputs_ascend,
)
WIDE_MEMBERSHIP: tuple[Callable[[SearchSpace, Genome], None], ...] = (
    levels_match_space,
    cells_fit_in_slots,
    ops_are_allowed,
    inputs_are_at_most_levels,
    intermediate_levels_are_allowed,
    outputs_come_last,
    tied_attention_inputs_ascend,
)
