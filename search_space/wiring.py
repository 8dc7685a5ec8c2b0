"""How a genome is wired: which nodes each cell reads, in which roles, and its leftovers.

Derived here once, for the graph, the identity, the cost and the network.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_space.genome import Genome, Level, MergingCell


@dataclass(frozen=True)
class WiredInput:
    """An input of a cell.

    Attributes:
        node: its node number.
        level: the level of that node.
        role: ``term``, or ``gate`` and ``value`` of an attention cell.
    """

    node: int
    level: Level
    role: str


@dataclass(frozen=True)
class WiredCell:
    """A cell that makes node ``number``.

    It resamples its ``inputs`` to ``level``, merges them by ``op`` and adds ``leftovers``
    (node numbers, all on its own level). ``output`` says whether it is its level's output.
    """

    number: int
    level: Level
    op: str
    inputs: tuple[WiredInput, ...]
    leftovers: tuple[int, ...]
    output: bool


@dataclass(frozen=True)
class Wiring:
    """All cells of one pyramid; ``outputs`` are node numbers in ascending order of level."""

    levels: tuple[Level, ...]
    cells: tuple[WiredCell, ...]
    outputs: tuple[int, ...]


def wire(genome: Genome) -> Wiring:
    """Return the wiring of a genome: one entry per cell, in the genome's order."""
    levels, leftovers = genome.node_levels, genome.leftovers()
    outputs = tuple(genome.outputs.values())
    cells = tuple(
        WiredCell(
            number,
            cell.level,
            cell.op,
            tuple(
                WiredInput(node, levels[node], role)
                for node, role in zip(cell.inputs, _roles(cell, levels), strict=True)
            ),
            leftovers.get(number, ()),
            number in outputs,
        )
        for number, cell in enumerate(genome.cells, start=len(genome.levels))
    )
    return Wiring(genome.levels, cells, outputs)


def _roles(cell: MergingCell, levels: tuple[Level, ...]) -> tuple[str, ...]:
    """Return the role of each input.

    The coarser input of an attention cell is the gate, the first one on a tie
    (tensorflow/tpu ``nasfpn.py``: ``>=``).
    """
    if cell.op != "attention":
        return ("term",) * len(cell.inputs)
    first, second = cell.inputs
    return ("gate", "value") if levels[first] >= levels[second] else ("value", "gate")
