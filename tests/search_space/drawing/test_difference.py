"""Which parts of two genomes correspond: edits by hand, renumbered genomes, laws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from search_space.drawing.difference import common_parts, counterparts
from search_space.genome import Genome, MergingCell
from search_space.graph import to_graph
from search_space.space import NASFPNSpace

RandomGenome = Callable[[np.random.Generator], Genome]

PUBLISHED = (
    MergingCell(4, "attention", (1, 3)),  # node 5
    MergingCell(4, "sum", (1, 5)),
    MergingCell(3, "sum", (0, 6)),
    MergingCell(4, "sum", (6, 7)),
    MergingCell(5, "attention", (7, 8)),  # node 9
    MergingCell(7, "attention", (6, 9)),
    MergingCell(6, "attention", (9, 10)),  # node 11
)
NODES, EDGES = set(range(12)), set(to_graph(Genome(PUBLISHED)).edges)


def renumbered(genome: Genome, rng: np.random.Generator) -> tuple[Genome, dict[int, int]]:
    """Return the cells in another valid order, and the new number of each node."""
    graph = to_graph(genome)
    order = list(range(len(genome.levels)))
    waiting = set(graph) - set(order)
    while waiting:
        ready = sorted(n for n in waiting if set(graph.predecessors(n)) <= set(order))
        order.append(int(rng.choice(ready)))
        waiting.discard(order[-1])
    numbers = {old: new for new, old in enumerate(order)}
    cells = []
    for old in order[len(genome.levels) :]:
        cell = genome.cells[old - len(genome.levels)]
        cells.append(MergingCell(cell.level, cell.op, tuple(numbers[i] for i in cell.inputs)))
    return Genome(tuple(cells), genome.levels), numbers


def test_a_renumbered_genome_is_all_common() -> None:
    rng = np.random.default_rng(0)
    space = NASFPNSpace()
    moved = 0
    for _ in range(300):
        genome = space.sample(rng)
        twin, numbers = renumbered(genome, rng)
        graph, twin_graph = to_graph(genome), to_graph(twin)
        roles = {(numbers[s], numbers[t]): role for s, t, role in graph.edges(data="role")}
        if roles != {(s, t): role for s, t, role in twin_graph.edges(data="role")}:
            continue  # other leftovers after reordering: another pyramid
        moved += any(old != new for old, new in numbers.items())
        for common, whole in zip(common_parts(genome, twin), (graph, twin_graph), strict=True):
            assert common.nodes == set(whole)
            assert common.edges == set(whole.edges)
    assert moved > 20


def test_a_changed_op_separates_the_cell_and_the_edges_whose_role_changes() -> None:
    cells = (*PUBLISHED[:4], MergingCell(5, "sum", (7, 8)), *PUBLISHED[5:])
    for common in common_parts(Genome(PUBLISHED), Genome(cells)):
        assert common.nodes == NODES - {9}
        # The leftover (2, 9) and the edges out of node 9 stay common.
        assert common.edges == EDGES - {(7, 9), (8, 9)}


def test_a_changed_input_separates_only_that_edge() -> None:
    cells = (*PUBLISHED[:6], MergingCell(6, "attention", (8, 10)))
    of_a, of_b = common_parts(Genome(PUBLISHED), Genome(cells))
    assert of_a.nodes == of_b.nodes == NODES
    assert of_a.edges == of_b.edges == EDGES - {(9, 11)}
    assert (8, 11) in to_graph(Genome(cells)).edges


def test_an_inserted_cell_has_no_counterpart_and_the_cells_after_it_have() -> None:
    # The new node 5 moves all cells up by one number. It becomes a leftover of P6, and it uses
    # node 2, which is therefore no longer a leftover of P5.
    shifted = [MergingCell(c.level, c.op, tuple(i + (i >= 5) for i in c.inputs)) for c in PUBLISHED]
    longer = Genome((MergingCell(6, "sum", (2, 3)), *shifted))
    assert counterparts(Genome(PUBLISHED), longer) == {n: n + (n >= 5) for n in NODES}
    of_a, of_b = common_parts(Genome(PUBLISHED), longer)
    assert of_a.nodes == NODES
    assert of_a.edges == EDGES - {(2, 9)}
    assert of_b.nodes == set(range(13)) - {5}
    assert of_b.edges == set(to_graph(longer).edges) - {(2, 5), (3, 5), (5, 12)}


def test_cells_that_share_only_level_and_op_are_not_common() -> None:
    # Outputs of the same levels with the same op, but no edge in common.
    a = Genome((MergingCell(3, "identity", (0,)), MergingCell(4, "identity", (1,))), (3, 4))
    b = Genome((MergingCell(3, "identity", (1,)), MergingCell(4, "identity", (0,))), (3, 4))
    assert counterparts(a, b) == {0: 0, 1: 1, 2: 2, 3: 3}
    for common in common_parts(a, b):
        assert common.nodes == {0, 1}
        assert not common.edges


def test_being_an_output_counts_more_than_the_op() -> None:
    ends = (MergingCell(3, "identity", (0,)), MergingCell(5, "identity", (2,)))
    a = Genome((MergingCell(4, "sum", (0, 1)), *ends), (3, 4, 5))
    b = Genome(
        (MergingCell(4, "sum", (0, 2)), MergingCell(4, "weighted", (0, 3)), *ends), (3, 4, 5)
    )
    assert counterparts(a, b)[3] == 4


def test_the_gate_is_part_of_what_a_cell_computes() -> None:
    # Both inputs are on level 4, so the first one is the gate.
    first, second = MergingCell(4, "attention", (1, 2)), MergingCell(4, "attention", (2, 1))
    start = MergingCell(4, "sum", (0, 1))
    a = Genome((start, first, MergingCell(3, "identity", (0,))), (3, 4))
    b = Genome((start, second, first, MergingCell(3, "sum", (0, 3))), (3, 4))
    assert counterparts(a, b)[3] == 4


def test_pairs_are_one_to_one_on_one_level_and_both_parts_agree(
    random_genome: RandomGenome,
) -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        a, b = random_genome(rng), random_genome(rng)
        pairs = counterparts(a, b)
        assert len(set(pairs.values())) == len(pairs)
        assert all(a.node_levels[n] == b.node_levels[m] for n, m in pairs.items())
        assert {a.levels[n] for n in pairs if n < len(a.levels)} == set(a.levels) & set(b.levels)
        of_a, of_b = common_parts(a, b)
        assert {pairs[n] for n in of_a.nodes} == of_b.nodes
        assert {(pairs[s], pairs[t]) for s, t in of_a.edges} == of_b.edges
