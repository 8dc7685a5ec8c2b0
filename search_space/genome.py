"""A feature pyramid as a value: levels, merging cells and the genome they form."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass

from search_space import rules
from search_space.errors import GenomeError

PYRAMID_LEVELS = (3, 4, 5, 6, 7)


class Level(int):
    """A pyramid level: the feature map whose stride is ``2 ** level`` input pixels.

    Otherwise a plain integer, so ``Level(3) == 3``.

    Raises:
        GenomeError: the value is not an integer from 1 to 10.
    """

    __slots__ = ()

    def __new__(cls, value: int) -> Level:
        rules.level_is_in_range(value)
        return super().__new__(cls, value)

    @property
    def stride(self) -> int:
        """Input pixels per feature map pixel, on both axes."""
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
    """A node that resamples its inputs to ``level`` and merges them by ``op``.

    ``sum``, ``attention`` and ``weighted`` cells end with ReLU, 3x3 convolution and
    batch norm (NAS-FPN paper, section 3.1, figure 6). An ``identity`` cell only
    resamples its input.

    Attributes:
        level: level of the feature map that the cell makes.
        op: ``sum``: elementwise sum. ``attention``: ``a + b * sigmoid(pool(a))``, where
            ``a`` is the coarser input, or the first one if both have the same level
            (paper, figure 4; choice of ``a`` as in tensorflow/tpu ``nasfpn.py``).
            ``weighted``: sum with learned non-negative weights that add up to one
            (EfficientDet, fast normalised fusion). ``identity``: pass through.
        inputs: node numbers. The input levels are numbered first, then the cells.

    Raises:
        GenomeError: a rule of ``rules.py`` is broken. The path is relative to the cell,
            such as ``inputs``.
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
        # Plain integers: those of numpy would be no JSON.
        object.__setattr__(self, "inputs", tuple(map(operator.index, self.inputs)))
        rules.inputs_are_distinct(self.inputs)
        rules.arity_fits_op(self.op, self.inputs)


@dataclass(frozen=True)
class Genome:
    """A feature pyramid: merging cells over input levels.

    The nodes are the input levels, numbered from 0 (the finest), followed by the cells in
    order. The last cell on a level is the output of that level. A leftover is a node on
    that level that no cell has used by the time the output is built. All leftovers are
    added to the output, after the op and before ReLU, so the order of the cells matters
    (paper, section 3.1; rule as in tensorflow/tpu ``nasfpn.py``). The outputs have the
    levels of the inputs, so pyramids can be stacked.

    Attributes:
        cells: one or more per input level.
        levels: input levels, ascending.

    Raises:
        GenomeError: a rule of ``rules.py`` is broken.
    """

    cells: tuple[MergingCell, ...]
    levels: tuple[Level, ...] = tuple(map(Level, PYRAMID_LEVELS))

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", tuple(self.cells))
        object.__setattr__(self, "levels", to_levels(self.levels, "levels"))
        for index, cell in enumerate(self.cells):
            if not isinstance(cell, MergingCell):
                raise GenomeError("a cell must be a MergingCell", cell, f"cells[{index}]")
        rules.levels_ascend(self.levels)
        rules.cells_are_not_too_many(self.cells)
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
        """Return the leftovers of each output that has any, both as node numbers."""
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
    """Return integers as levels.

    Raises:
        GenomeError: a value is not a level. The path is ``path`` with the index, such as
            ``levels[0]``.
    """
    levels = []
    for index, value in enumerate(values):
        try:
            levels.append(Level(value))
        except GenomeError as error:
            raise GenomeError(error.rule, value, f"{path}[{index}]") from None
    return tuple(levels)
