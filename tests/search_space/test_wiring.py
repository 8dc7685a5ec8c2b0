"""The wiring of a genome: the published cell by hand, and laws for every genome."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import searched_archs
from search_space import Genome, Level, MergingCell
from search_space.wiring import WiredCell, WiredInput, wire

RandomGenome = Callable[[np.random.Generator], Genome]


def test_the_published_cell_by_hand() -> None:
    # Nodes 0 to 4 are P3 to P7. Nothing uses P5 (2) before node 9 or P7 (4) before node 10.
    wiring = wire(searched_archs.load("nasfpn"))
    rows = [
        (s.number, s.level, s.op, [(i.node, i.level, i.role) for i in s.inputs], s.leftovers)
        for s in wiring.cells
    ]
    assert rows == [
        (5, 4, "attention", [(1, 4, "value"), (3, 6, "gate")], ()),
        (6, 4, "sum", [(1, 4, "term"), (5, 4, "term")], ()),
        (7, 3, "sum", [(0, 3, "term"), (6, 4, "term")], ()),
        (8, 4, "sum", [(6, 4, "term"), (7, 3, "term")], ()),
        (9, 5, "attention", [(7, 3, "value"), (8, 4, "gate")], (2,)),
        (10, 7, "attention", [(6, 4, "value"), (9, 5, "gate")], (4,)),
        (11, 6, "attention", [(9, 5, "value"), (10, 7, "gate")], ()),
    ]
    assert wiring.levels == (3, 4, 5, 6, 7)
    assert wiring.outputs == (7, 8, 9, 11, 10)  # ascending by level, not in the order of cells
    assert wiring.cells[4].sources == ((7, "value"), (8, "gate"), (2, "leftover"))


def test_the_first_of_two_inputs_on_one_level_is_the_gate() -> None:
    cells = (MergingCell(3, "attention", (1, 0)), MergingCell(4, "attention", (3, 1)))
    cells = (MergingCell(4, "sum", (0, 1)), *cells)
    first, second = wire(Genome(cells, (3, 4))).cells[1:]
    assert [s.role for s in first.inputs] == ["gate", "value"]
    assert second.inputs == (WiredInput(3, Level(3), "value"), WiredInput(1, Level(4), "gate"))


def test_wired_cells_follow_the_cells_of_every_genome(random_genome: RandomGenome) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        genome = random_genome(rng)
        wiring = wire(genome)
        assert [s.number for s in wiring.cells] == list(range(len(genome.levels), _nodes(genome)))
        for wired, cell in zip(wiring.cells, genome.cells, strict=True):
            assert (wired.level, wired.op) == (cell.level, cell.op)
            assert tuple(s.node for s in wired.inputs) == cell.inputs
            assert [n for n, _ in wired.sources] == [*cell.inputs, *wired.leftovers]
            _check_sources(genome, wired)
        last = {wired.level: wired.number for wired in wiring.cells}
        assert wiring.outputs == tuple(last[level] for level in genome.levels)
        # A leftover is on the level of its cell, was not used before, and is added once.
        added = [node for wired in wiring.cells for node in wired.leftovers]
        assert len(added) == len(set(added))
        used: set[int] = set()
        for wired in wiring.cells:
            used |= {source.node for source in wired.inputs}
            assert not used & set(wired.leftovers)
            if wired.number in wiring.outputs:
                same_level = {
                    n for n in range(wired.number) if genome.node_levels[n] == wired.level
                }
                assert same_level <= used | set(added)
            else:
                assert wired.leftovers == ()


def _nodes(genome: Genome) -> int:
    return len(genome.levels) + len(genome.cells)


def _check_sources(genome: Genome, wired: WiredCell) -> None:
    for source in wired.inputs:
        assert source.level == genome.node_levels[source.node]
    roles = sorted(source.role for source in wired.inputs)
    if wired.op != "attention":
        assert set(roles) == {"term"}
        return
    assert roles == ["gate", "value"]
    gate, value = sorted(wired.inputs, key=lambda source: source.role)
    assert gate.level >= value.level
    if gate.level == value.level:
        assert wired.inputs[0] == gate
