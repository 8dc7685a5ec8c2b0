"""A feature pyramid as a value: levels, merging cells and the genome they form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from search_space import rules
from search_space.errors import GenomeError

PYRAMID_LEVELS = (3, 4, 5, 6, 7)


class Level(int):
    """A pyramid level: the feature map whose stride is ``2 ** level`` input pixels.

    A plain integer otherwise, so ``Level(3) == 3``. Raises GenomeError outside
    1..10.
    """

    __slots__ = ()

    def __new__(cls, value: int) -> Level:
        rules.level_is_in_range(value)
        return super().__new__(cls, value)

    @property
    def stride(self) -> int:
        """Input pixels per cell of the feature map, on both axes."""
        return 1 << int(self)

    @property
    def name(self) -> str:
        """``p3`` for level 3."""
        return f"p{int(self)}"

    def __repr__(self) -> str:
        return f"Level({int(self)})"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class MergingCell:
    """One node of the pyramid: resample the inputs to ``level``, merge them by ``op``.

    ``sum``, ``attention`` and ``weighted`` cells end with ReLU, 3x3 convolution and
    batch norm (NAS-FPN paper, section 3.1, figure 6); an ``identity`` cell is its
    resampled input and nothing else.

    Attributes:
        level: output level.
        op: ``sum``: elementwise sum. ``attention``: ``a + b * sigmoid(pool(a))`` with
            ``a`` the coarser input, the first one where both have the same level
            (paper, figure 4; operand after tensorflow/tpu ``nasfpn.py``).
            ``weighted``: sum with learned non-negative weights that add up to one
            (EfficientDet, fast normalised fusion). ``identity``: pass through.
        inputs: node numbers, input levels first, then cells.

    Raises:
        GenomeError: a rule of ``rules.py`` does not hold; the path is relative to the
            cell (``inputs``).
    """

    level: Level
    op: str
    inputs: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", Level(self.level))
        if isinstance(self.inputs, list):
            object.__setattr__(self, "inputs", tuple(self.inputs))
        rules.op_is_known(self.op)
        rules.inputs_are_nodes(self.inputs)
        rules.inputs_are_distinct(self.inputs)
        rules.arity_fits_op(self.op, self.inputs)


@dataclass(frozen=True)
class Genome:
    """A feature pyramid: merging cells over input levels.

    Nodes are numbered input levels first (0 is the finest), then cells in order. The
    last cell on a level is the output of that level. When an output is built, every
    node of its level that nothing has used yet (a leftover) is added to it after the
    op and before ReLU; the order of cells therefore matters (paper, section 3.1; rule
    as in tensorflow/tpu ``nasfpn.py``). Since outputs have the levels of the inputs,
    pyramids stack.

    Attributes:
        cells: one or more per input level.
        levels: input levels, ascending.

    Raises:
        GenomeError: a rule of ``rules.py`` does not hold.
    """

    cells: tuple[MergingCell, ...]
    levels: tuple[Level, ...] = tuple(map(Level, PYRAMID_LEVELS))

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", tuple(self.cells))
        object.__setattr__(self, "levels", to_levels(self.levels, "levels"))
        for index, cell in enumerate(self.cells):
            if not isinstance(cell, MergingCell):
                raise GenomeError("a cell is a MergingCell", cell, f"cells[{index}]")
        rules.levels_ascend(self.levels)
        for index in range(len(self.cells)):
            rules.level_is_an_input_level(self.cells, self.levels, index)
            rules.inputs_precede_cell(self.cells, self.levels, index)
        rules.every_level_has_an_output(self.cells, self.levels)

    @property
    def node_levels(self) -> tuple[Level, ...]:
        """Level of every node, by node number."""
        return self.levels + tuple(cell.level for cell in self.cells)

    @property
    def outputs(self) -> dict[Level, int]:
        """Node number of each level's output, ascending by level."""
        last = {cell.level: len(self.levels) + i for i, cell in enumerate(self.cells)}
        return {level: last[level] for level in self.levels}

    def leftovers(self) -> dict[int, tuple[int, ...]]:
        """Return, for every output that receives leftovers, their node numbers."""
        used: set[int] = set()
        outputs = set(self.outputs.values())
        levels = self.node_levels
        result: dict[int, tuple[int, ...]] = {}
        for number, cell in enumerate(self.cells, start=len(self.levels)):
            used.update(cell.inputs)
            if number in outputs:
                unused = tuple(
                    n for n in range(number) if levels[n] == cell.level and n not in used
                )
                used.update(unused)
                if unused:
                    result[number] = unused
        return result


def to_levels(values: Iterable[int], path: str) -> tuple[Level, ...]:
    """Return integers as levels; GenomeError carries ``path`` and the place, as ``levels[0]``."""
    levels = []
    for index, value in enumerate(values):
        try:
            levels.append(Level(value))
        except GenomeError as error:
            raise GenomeError(error.rule, value, f"{path}[{index}]") from None
    return tuple(levels)
