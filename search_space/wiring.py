"""How a genome is wired: which nodes each cell reads, in which roles, with which leftovers.

This is the only module that derives the wiring. The graph, the identity, the cost and the
network all use :func:`wire`.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_space.genome import Genome, Level, MergingCell

LEFTOVER = "leftover"  # role of a leftover among the sources of a cell


@dataclass(frozen=True)
class WiredInput:
    """One input of a cell.

    Attributes:
        node: number of the node that is read.
        level: level of that node.
        role: ``gate`` or ``value`` in an attention cell, ``term`` in any other.
    """

    node: int
    level: Level
    role: str


@dataclass(frozen=True)
class WiredCell:
    """A cell with everything it reads.

    It resamples its inputs to its level, merges them by its op and adds its leftovers.

    Attributes:
        number: number of the node that the cell makes.
        level: level of that node.
        op: as in :class:`search_space.genome.MergingCell`.
        inputs: the inputs, in the order of the genome.
        leftovers: numbers of the leftover nodes, all on the cell's level.
        output: whether the cell is the output of its level.
    """

    number: int
    level: Level
    op: str
    inputs: tuple[WiredInput, ...]
    leftovers: tuple[int, ...]
    output: bool

    @property
    def sources(self) -> tuple[tuple[int, str], ...]:
        """Node number and role of all that the cell reads.

        The inputs come first, in order, then the leftovers with the role ``leftover``.
        """
        inputs = tuple((source.node, source.role) for source in self.inputs)
        return inputs + tuple((node, LEFTOVER) for node in self.leftovers)


@dataclass(frozen=True)
class Wiring:
    """The wiring of one pyramid.

    Attributes:
        levels: input levels, ascending.
        cells: the cells, in the order of the genome.
        outputs: node number of each level's output, ascending by level.
    """

    levels: tuple[Level, ...]
    cells: tuple[WiredCell, ...]
    outputs: tuple[int, ...]


def wire(genome: Genome) -> Wiring:
    """Return the wiring of a genome."""
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

    The gate of an attention cell is the coarser input, or the first one if both have the
    same level (tensorflow/tpu ``nasfpn.py``: ``>=``).
    """
    if cell.op != "attention":
        return ("term",) * len(cell.inputs)
    first, second = cell.inputs
    return ("gate", "value") if levels[first] >= levels[second] else ("value", "gate")
