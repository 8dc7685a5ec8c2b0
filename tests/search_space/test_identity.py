"""``genome_id`` against networkx's isomorphism search, and the cases that are easy to miss."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import networkx as nx
import numpy as np
import pytest

from search_space import Genome, GenomeError, MergingCell, NASFPNSpace, genome_id, to_graph
from search_space.rules import ARITY

RandomGenome = Callable[[np.random.Generator], Genome]


def same_by_vf2(a: Genome, b: Genome) -> bool:
    """Return whether ``genome_id`` must be equal, by networkx's isomorphism search."""
    return bool(
        nx.is_isomorphic(
            to_graph(a),
            to_graph(b),
            node_match=lambda x, y: x == y,
            edge_match=lambda x, y: x["role"] == y["role"],
        )
    )


def renumbered(genome: Genome, rng: np.random.Generator) -> Genome:
    """Return the cells in another valid order; this may change outputs and leftovers."""
    inputs = len(genome.levels)
    number = {node: node for node in range(inputs)}  # old number -> new number
    cells: list[MergingCell] = []
    waiting = list(range(len(genome.cells)))
    while waiting:
        ready = [i for i in waiting if all(node in number for node in genome.cells[i].inputs)]
        index = int(rng.choice(ready))
        waiting.remove(index)
        cell = genome.cells[index]
        sources = [number[node] for node in cell.inputs]
        if cell.op != "attention":
            rng.shuffle(sources)
        number[inputs + index] = inputs + len(cells)
        cells.append(MergingCell(cell.level, cell.op, tuple(sources)))
    return Genome(tuple(cells), genome.levels)


def changed(genome: Genome, rng: np.random.Generator) -> Genome:
    """Return the genome with one attribute of one cell drawn again."""
    while True:
        index = int(rng.integers(len(genome.cells)))
        cell = genome.cells[index]
        level, op, inputs = cell.level, cell.op, list(cell.inputs)
        kind = rng.integers(4)
        if kind == 0:
            level = genome.levels[rng.integers(len(genome.levels))]
        elif kind == 1:
            op = str(rng.choice(list(ARITY)))
        elif kind == 2:
            inputs.reverse()  # changes only an attention of two equal levels
        else:
            inputs[rng.integers(len(inputs))] = int(rng.integers(len(genome.levels) + index))
        cells = list(genome.cells)
        try:
            cells[index] = MergingCell(level, op, tuple(inputs))
            return Genome(tuple(cells), genome.levels)
        except GenomeError:
            continue


def rich_in_twins(rng: np.random.Generator) -> Genome:
    """Return a genome of few different cells with many copies, read by later cells."""
    cells = []
    for index in range(int(rng.integers(2, 7))):
        pool = [*range(2 + index)]
        inputs = (0, 1) if rng.random() < 0.5 else tuple(rng.choice(pool, 2, False).tolist())
        cells.append(MergingCell(3 + int(rng.random() < 0.8), "sum", inputs))
    for level in (3, 4):
        last = rng.choice(2 + len(cells), 2, False).tolist()
        cells.append(MergingCell(level, "sum", tuple(last)))
    return Genome(tuple(cells), (3, 4))


def pairs(random_genome: RandomGenome) -> Iterator[tuple[Genome, Genome]]:
    rng = np.random.default_rng(2)
    paper = NASFPNSpace()
    for make, count in ((paper.sample, 2000), (random_genome, 2000), (rich_in_twins, 3000)):
        for _ in range(count):
            genome = make(rng)
            twin = renumbered(genome, rng)
            yield genome, twin if rng.random() < 0.75 else changed(twin, rng)


@pytest.mark.slow
def test_equal_exactly_when_vf2_finds_an_isomorphism(random_genome: RandomGenome) -> None:
    outcomes = [0, 0]
    for a, b in pairs(random_genome):
        same = same_by_vf2(a, b)
        assert (genome_id(a) == genome_id(b)) == same, (a, b)
        outcomes[same] += 1
    assert sum(outcomes) == 7_000
    assert min(outcomes) > 1_500  # both answers occur often


def test_id_by_hand() -> None:
    # Ids are stored in files, so they must never change. All four nodes differ, so they are
    # in the order of their digests (94ab.., a998.., abe0.., ca91..).
    genome = Genome((MergingCell(3, "sum", (0, 1)), MergingCell(4, "identity", (0,))), (3, 4))
    form = (
        ((3, "input", False), ()),
        ((4, "identity", True), (("term", 0),)),
        ((3, "sum", True), (("term", 0), ("term", 3))),
        ((4, "input", False), ()),
    )
    assert genome_id(genome) == hashlib.sha256(repr(form).encode()).hexdigest()


S44 = MergingCell(4, "sum", (0, 1))


def closed(*cells: MergingCell) -> Genome:
    """Return the cells on levels 3 and 4, followed by outputs that read only the inputs."""
    return Genome((*cells, MergingCell(3, "sum", (0, 1)), S44), (3, 4))


def test_sharing_a_twin_differs_from_having_one_each() -> None:
    # Fails if only sources are compared. Nodes 2 and 3 are twins. Either both 4 and 5 read
    # node 2, and node 3 is a leftover, or 5 reads node 3. The digests of all sources are equal.
    shared = Genome(
        (S44, S44, MergingCell(4, "sum", (0, 2)), MergingCell(4, "sum", (1, 2)), *closed().cells),
        (3, 4),
    )
    each = Genome(
        (S44, S44, MergingCell(4, "sum", (0, 2)), MergingCell(4, "sum", (1, 3)), *closed().cells),
        (3, 4),
    )
    assert genome_id(shared) != genome_id(each)


def test_a_gate_is_not_a_value() -> None:
    # Fails if roles are ignored: nodes 1 and 2 are on one level, so the order decides.
    a = closed(S44, MergingCell(4, "attention", (1, 2)))
    b = closed(S44, MergingCell(4, "attention", (2, 1)))
    assert genome_id(a) != genome_id(b)


def test_the_gate_of_a_coarser_input_does_not_depend_on_the_order() -> None:
    a = closed(MergingCell(4, "attention", (0, 1)))
    assert genome_id(a) == genome_id(closed(MergingCell(4, "attention", (1, 0))))


def test_a_leftover_is_not_a_term() -> None:
    # Fails if leftovers count as inputs: node 2 is added to the output of level 4 either way.
    left = Genome((S44, MergingCell(3, "sum", (0, 1)), S44), (3, 4))
    term = Genome((S44, MergingCell(3, "sum", (0, 1)), MergingCell(4, "sum", (0, 1, 2))), (3, 4))
    assert genome_id(left) != genome_id(term)


def over_vertices(edges: list[tuple[int, int]]) -> Genome:
    """Return an undirected graph as a genome: a twin for each vertex, a sum for each edge."""
    ends = [MergingCell(4, "sum", (2 + a, 2 + b)) for a, b in edges]
    return closed(*[S44] * (1 + max(map(max, edges))), *ends)


def test_twins_that_refinement_cannot_split() -> None:
    # Fails without the search over ties: every vertex of both graphs has two edges.
    ring = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)]
    triangles = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)]
    other_ring = [(0, 3), (3, 1), (1, 5), (5, 2), (2, 4), (4, 0)]
    assert genome_id(over_vertices(ring)) != genome_id(over_vertices(triangles))
    assert genome_id(over_vertices(ring)) == genome_id(over_vertices(other_ring))


def test_twins_that_look_alike_without_a_symmetry() -> None:
    # Fails if only the first tied node is tried: again every vertex has two edges, but three
    # of the seven are on a triangle and four on a square.
    edges = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 6), (6, 3)]
    rng = np.random.default_rng(3)
    ids = set()
    for _ in range(20):
        vertex = rng.permutation(7).tolist()
        rng.shuffle(edges)
        ids.add(genome_id(over_vertices([(vertex[a], vertex[b]) for a, b in edges])))
    assert len(ids) == 1


@pytest.mark.parametrize("count", [2, 5, 15])
def test_many_exact_twins(count: int) -> None:
    # Never ends if every order of the twins is tried: 15! is 1.3e12.
    def reading(twins: list[int]) -> Genome:
        return closed(*[S44] * count, *(MergingCell(4, "sum", (0, 2 + twin)) for twin in twins))

    each = list(range(count))
    assert genome_id(reading(each)) == genome_id(reading(each[::-1]))
    assert genome_id(reading(each)) != genome_id(reading([*each[:-1], 0]))
