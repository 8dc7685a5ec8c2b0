"""The steps from a genome of a :class:`search_space.wide.WideSpace` to its neighbours, by kind.

Each step leads to a genome of the space, and another step leads back, of the same kind or of the
opposite one. :func:`crossed` makes a child of two genomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias

from search_space.genome import Genome, Level, MergingCell

if TYPE_CHECKING:
    import numpy as np

    from search_space.wide import WideSpace

# Makes the neighbour. Few of the steps of a genome are taken, so they are cheap until then.
Move: TypeAlias = Callable[[], Genome]
Kind: TypeAlias = "Callable[[WideSpace, Genome], Iterator[Move]]"


def replace_input(space: WideSpace, genome: Genome) -> Iterator[Move]:
    """A cell reads another node in place of one of its inputs."""
    for index, cell in enumerate(genome.cells):
        for new in _unread(genome, index):
            for old in cell.inputs:
                inputs = (new, *(node for node in cell.inputs if node != old))
                yield partial(_changed, genome, index, inputs=inputs)


def add_input(space: WideSpace, genome: Genome) -> Iterator[Move]:
    """A cell whose op takes more inputs reads one more node."""
    for index, cell in enumerate(genome.cells):
        if len(cell.inputs) + 1 in space.counts(cell.op):
            for new in _unread(genome, index):
                yield partial(_changed, genome, index, inputs=(*cell.inputs, new))


def remove_input(space: WideSpace, genome: Genome) -> Iterator[Move]:
    """A cell whose op takes fewer inputs no longer reads one of them."""
    for index, cell in enumerate(genome.cells):
        if len(cell.inputs) - 1 in space.counts(cell.op):
            for inputs in combinations(cell.inputs, len(cell.inputs) - 1):
                yield partial(_changed, genome, index, inputs=inputs)


def change_op(space: WideSpace, genome: Genome) -> Iterator[Move]:
    """A cell gets another op that takes as many inputs, or one more or fewer from ``identity``.

    From ``identity`` to an op of two inputs, the cell reads any other node as well; from an op of
    two inputs to ``identity``, it keeps either of them.
    """
    for index, cell in enumerate(genome.cells):
        for op in space.ops_of(index, len(genome.cells)):
            if op == cell.op:
                continue
            if len(cell.inputs) in space.counts(op):
                yield partial(_changed, genome, index, op=op)
            elif len(cell.inputs) == 1:
                for new in _unread(genome, index):
                    yield partial(_changed, genome, index, op=op, inputs=(*cell.inputs, new))
            elif len(cell.inputs) == 2:
                for node in cell.inputs:
                    yield partial(_changed, genome, index, op=op, inputs=(node,))


def change_level(space: WideSpace, genome: Genome) -> Iterator[Move]:
    """An intermediate cell gets another level, or two outputs swap theirs."""
    first_output = len(genome.cells) - len(genome.levels)
    for index, cell in enumerate(genome.cells[:first_output]):
        for level in space.intermediate_levels or ():
            if level != cell.level:
                yield partial(_changed, genome, index, level=level)
    for one, two in combinations(range(first_output, len(genome.cells)), 2):
        yield partial(_swapped, genome, one, two)


def add_cell(space: WideSpace, genome: Genome) -> Iterator[Move]:
    """A last intermediate cell is added that merges two nodes.

    Either no cell reads it, so that it is a leftover, or one output reads it in place of the first
    of the two nodes.
    """
    first_output = len(genome.cells) - len(genome.levels)
    if first_output == space.intermediate_cells:
        return
    number = len(genome.levels) + first_output
    for pair in combinations(range(number), 2):
        outputs = range(first_output, len(genome.cells))
        readers = [index for index in outputs if pair[0] in genome.cells[index].inputs]
        for level in space.intermediate_levels or ():
            for op in space.ops_of(0, len(genome.cells) + 1):
                for reader in (None, *readers):
                    yield partial(_with_cell, genome, level, op, pair, reader)


def remove_cell(space: WideSpace, genome: Genome) -> Iterator[Move]:
    """The last intermediate cell is removed, if it has two inputs and at most one cell reads it.

    That cell reads its first input instead. It must not do so already.
    """
    last = len(genome.cells) - len(genome.levels) - 1
    number = len(genome.levels) + last
    if last < 0 or len(genome.cells[last].inputs) != 2:
        return
    readers = [cell for cell in genome.cells if number in cell.inputs]
    if len(readers) < 2 and all(genome.cells[last].inputs[0] not in c.inputs for c in readers):
        yield partial(_without_cell, genome, last)


KINDS: tuple[Kind, ...] = (
    replace_input,
    add_input,
    remove_input,
    change_op,
    change_level,
    add_cell,
    remove_cell,
)


def crossed(space: WideSpace, a: Genome, b: Genome, rng: np.random.Generator) -> Genome:
    """Return a child of two genomes, as ``WideSpace.crossover`` says."""
    parents = [space.encode(genome) for genome in (a, b)]
    used = [len(genome.cells) - len(genome.levels) for genome in (a, b)]
    cells, order = (parents[int(rng.integers(2))] for _ in range(2))
    sources = {"cells": cells}
    for slot, name in enumerate(space.names):
        inner = slot < space.intermediate_cells
        holders = [p for p, n in zip(parents, used, strict=True) if slot < n or not inner]
        # A slot that neither parent uses is not used by the child.
        sources[name] = holders[int(rng.integers(len(holders)))] if holders else cells
    levels = {f"{name}.level": order for name in space.names[space.intermediate_cells :]}
    choices = {key: levels.get(key, sources[key.partition(".")[0]])[key] for key in cells}
    return space.decode(choices)


def _unread(genome: Genome, index: int) -> list[int]:
    """Return the nodes before a cell that it does not read."""
    inputs = genome.cells[index].inputs
    return [node for node in range(len(genome.levels) + index) if node not in inputs]


def _changed(
    genome: Genome,
    index: int,
    level: Level | None = None,
    op: str | None = None,
    inputs: tuple[int, ...] | None = None,
) -> Genome:
    cells = list(genome.cells)
    cell = cells[index]
    merged = tuple(sorted(inputs or cell.inputs))
    cells[index] = MergingCell(level or cell.level, op or cell.op, merged)
    return Genome(tuple(cells), genome.levels)


def _swapped(genome: Genome, one: int, two: int) -> Genome:
    cells = list(genome.cells)
    a, b = cells[one], cells[two]
    cells[one] = MergingCell(b.level, a.op, a.inputs)
    cells[two] = MergingCell(a.level, b.op, b.inputs)
    return Genome(tuple(cells), genome.levels)


def _with_cell(
    genome: Genome, level: Level, op: str, inputs: tuple[int, int], reader: int | None
) -> Genome:
    first_output = len(genome.cells) - len(genome.levels)
    number = len(genome.levels) + first_output
    outputs = []
    for index, cell in enumerate(genome.cells[first_output:], start=first_output):
        nodes = [node + (node >= number) for node in cell.inputs]
        if index == reader:
            nodes = [number if node == inputs[0] else node for node in nodes]
        outputs.append(MergingCell(cell.level, cell.op, tuple(sorted(nodes))))
    added = MergingCell(level, op, inputs)
    return Genome((*genome.cells[:first_output], added, *outputs), genome.levels)


def _without_cell(genome: Genome, index: int) -> Genome:
    number, first = len(genome.levels) + index, genome.cells[index].inputs[0]
    outputs = []
    for cell in genome.cells[index + 1 :]:
        nodes = (first if n == number else n - (n > number) for n in cell.inputs)
        outputs.append(MergingCell(cell.level, cell.op, tuple(sorted(nodes))))
    return Genome((*genome.cells[:index], *outputs), genome.levels)
