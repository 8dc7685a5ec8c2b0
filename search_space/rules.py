"""The rules that every genome obeys, one function for each.

A function returns nothing if its rule holds and raises GenomeError otherwise. The
further rules of a search space are in ``membership.py``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from search_space.errors import GenomeError

if TYPE_CHECKING:
    from search_space.genome import MergingCell

MAX_CELLS = 100
MIN_LEVEL, MAX_LEVEL = 1, 10  # strides 2 to 1024

# op -> least and greatest number of inputs; None: no limit.
ARITY: dict[str, tuple[int, int | None]] = {
    "sum": (2, None),
    "attention": (2, 2),
    "weighted": (2, None),
    "identity": (1, 1),
}


def as_int(value: object) -> int | None:
    """Return an integer of any type as a plain ``int``; None for everything else, and for bools.

    An integer is what Python takes as an index: ``int``, a numpy integer of any width, or an
    array of no dimensions that holds one.
    """
    if type(value) is int:  # nearly always, and millions of times in a search
        return value
    # Numpy 1 still takes its bools as indices.
    if isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b":
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def json_integer(value: object) -> int:
    """Return an integer that is no ``int`` as one: the ``default`` of ``json.dumps``.

    Raises:
        TypeError: it is no integer, so it is no JSON data.
    """
    number = as_int(value)
    if number is None:
        raise TypeError(f"an object of type {type(value).__name__} is no JSON data")
    return number


def level_is_in_range(level: object) -> None:
    """A level is an integer from 1 (stride 2) to 10 (stride 1024)."""
    number = as_int(level)
    if number is None or not MIN_LEVEL <= number <= MAX_LEVEL:
        rule = f"a level must be an integer from {MIN_LEVEL} to {MAX_LEVEL}"
        raise GenomeError(rule, level, "level")


def op_is_known(op: object) -> None:
    """An op is one of ``sum``, ``attention``, ``weighted``, ``identity``."""
    if not isinstance(op, str) or op not in ARITY:
        raise GenomeError(f"an op must be one of {', '.join(ARITY)}", op, "op")


def inputs_are_nodes(inputs: object) -> None:
    """A cell's inputs are node numbers: integers from 0."""
    numbers = map(as_int, inputs) if isinstance(inputs, tuple) else (None,)
    if any(number is None or number < 0 for number in numbers):
        raise GenomeError("inputs must be node numbers, integers from 0", inputs, "inputs")


def inputs_are_distinct(inputs: tuple[int, ...]) -> None:
    """A cell's inputs are different nodes."""
    if len(set(inputs)) != len(inputs):
        raise GenomeError("inputs must be different nodes", inputs, "inputs")


def arity_fits_op(op: str, inputs: tuple[int, ...]) -> None:
    """A cell has as many inputs as its op takes (see ``ARITY``)."""
    least, most = ARITY[op]
    if len(inputs) < least or (most is not None and len(inputs) > most):
        count = f"{least}" if most == least else f"{least} or more"
        raise GenomeError(f"op {op} must have {count} input(s)", inputs, "inputs")


def levels_ascend(levels: Sequence[int]) -> None:
    """The input levels are two or more, in strictly ascending order."""
    if len(levels) < 2 or any(a >= b for a, b in pairwise(levels)):
        raise GenomeError(
            "input levels must be two or more, ascending", tuple(map(int, levels)), "levels"
        )


def cells_are_not_too_many(cells: Sequence[MergingCell]) -> None:
    """A genome has at most ``MAX_CELLS`` cells, so that it can be compiled and drawn in minutes."""
    if len(cells) > MAX_CELLS:
        raise GenomeError(f"a genome must have at most {MAX_CELLS} cells", len(cells), "cells")


def level_is_an_input_level(
    cells: Sequence[MergingCell], levels: Sequence[int], index: int
) -> None:
    """A cell is on one of the input levels, so that pyramids can be stacked."""
    if cells[index].level not in levels:
        raise GenomeError(
            f"a cell's level must be one of the input levels {tuple(map(int, levels))}",
            int(cells[index].level),
            f"cells[{index}].level",
        )


def inputs_precede_cell(cells: Sequence[MergingCell], levels: Sequence[int], index: int) -> None:
    """A cell's inputs are input levels and earlier cells, so the graph is acyclic."""
    number = len(levels) + index
    if any(i >= number for i in cells[index].inputs):
        raise GenomeError(
            f"inputs of node {number} must be below {number}",
            cells[index].inputs,
            f"cells[{index}].inputs",
        )


def every_level_has_an_output(cells: Sequence[MergingCell], levels: Sequence[int]) -> None:
    """Each input level has a cell; the last cell on a level is its output."""
    missing = set(levels) - {cell.level for cell in cells}
    if missing:
        raise GenomeError(
            "every input level must have a cell; the last cell on a level is its output",
            f"no cell on level(s) {sorted(map(int, missing))}",
            "cells",
        )
