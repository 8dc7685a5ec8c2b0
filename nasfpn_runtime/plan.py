"""A genome as the static steps that the compiled pyramid walks. No MindSpore here."""

from __future__ import annotations

from dataclasses import dataclass

from search_space.genome import Genome, Level
from search_space.graph import input_roles


@dataclass(frozen=True)
class Source:
    """An input of a step: node number, its level, and its role (see ``graph.py``)."""

    node: int
    level: Level
    role: str


@dataclass(frozen=True)
class Step:
    """Make node ``number``: resample ``sources`` to ``level``, merge, add ``leftovers``."""

    number: int
    level: Level
    op: str
    sources: tuple[Source, ...]
    leftovers: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """The steps of one stack; ``outputs`` are node numbers in ascending order of level."""

    levels: tuple[Level, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]


def make_plan(genome: Genome) -> Plan:
    """Return the plan of a genome: one step per cell, in the genome's order."""
    levels = genome.node_levels
    leftovers = genome.leftovers()
    steps = tuple(
        Step(
            number,
            cell.level,
            cell.op,
            tuple(
                Source(node, levels[node], role)
                for node, role in zip(cell.inputs, input_roles(cell, levels), strict=True)
            ),
            leftovers.get(number, ()),
        )
        for number, cell in enumerate(genome.cells, start=len(genome.levels))
    )
    return Plan(genome.levels, steps, tuple(genome.outputs.values()))
