"""Genomes as arrays do what the space does, on spaces of several shapes."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from controllers.arrays import GenomeArrays
from controllers.samplers import Choices
from search_space import Genome, Level, NASFPNSpace, to_graph
from synthetic import SPACE

SPACES = {
    "paper": NASFPNSpace(),
    "small": SPACE,
    "no intermediate cells": NASFPNSpace((Level(3), Level(4)), 0),
    "one op": NASFPNSpace(ops=("attention",)),
    "three ops": NASFPNSpace(ops=("sum", "attention", "weighted")),
    "any level": NASFPNSpace(
        (Level(4), Level(6), Level(7)), 3, (Level(7), Level(4)), ("weighted", "sum")
    ),
}


@pytest.fixture(params=SPACES)
def arrays(request: pytest.FixtureRequest) -> GenomeArrays:
    return GenomeArrays(SPACES[request.param])


def genome_of(arrays: GenomeArrays, choices: Choices) -> Genome:
    names = [decision.name for decision in arrays.space.decisions()]
    return arrays.space.decode(dict(zip(names, choices, strict=True)))


def test_arrays_have_the_levels_nodes_and_ops_of_the_genomes(arrays: GenomeArrays) -> None:
    rng, space = np.random.default_rng(0), arrays.space
    genomes = [space.sample(rng) for _ in range(50)]
    choices = [tuple(space.encode(genome).values()) for genome in genomes]
    rows = arrays.from_choices(choices)
    for genome, given, row in zip(genomes, choices, rows, strict=True):
        for cell, (level, first, second, op) in zip(genome.cells, row, strict=True):
            assert (cell.level, cell.op) == (space.levels[level], space.ops[op])
            assert cell.inputs == (first, second)
        assert arrays.to_choices(row) == given


def test_inputs_in_either_order_are_the_same_array() -> None:
    arrays, rng = GenomeArrays(NASFPNSpace()), np.random.default_rng(6)
    names = [decision.name for decision in arrays.space.decisions()]
    first, second = names.index("cell3.first"), names.index("cell3.second")
    for row in arrays.random(20, rng):
        one = list(arrays.to_choices(row))
        other = one.copy()
        # `second` counts the nodes other than `first`, which is the smaller one here.
        other[first], other[second] = one[second] + 1, one[first]
        assert genome_of(arrays, tuple(one)) == genome_of(arrays, tuple(other))
        assert (arrays.from_choices([tuple(one), tuple(other)]) == row).all()


def test_mutants_are_the_neighbours_equally_often(arrays: GenomeArrays) -> None:
    """With 50 draws for each neighbour, a fair count is outside 10..110 once in 1e8."""
    rng = np.random.default_rng(1)
    parent = arrays.random(1, rng)
    neighbours = list(arrays.space.neighbours(genome_of(arrays, arrays.to_choices(parent[0]))))
    mutants = arrays.mutate(np.repeat(parent, 50 * len(neighbours), 0), rng)
    rows, counts = np.unique(mutants, axis=0, return_counts=True)
    assert {genome_of(arrays, arrays.to_choices(row)) for row in rows} == set(neighbours)
    assert counts.min() > 10
    assert counts.max() < 110


def test_children_have_cells_of_their_parents(arrays: GenomeArrays) -> None:
    rng = np.random.default_rng(2)
    a, b = arrays.random(40, rng), arrays.random(40, rng)
    children = arrays.cross(a, b, rng)
    outputs = slice(arrays.intermediate, None)
    for one, other, child in zip(a, b, children, strict=True):
        genome_of(arrays, arrays.to_choices(child))  # a genome of the space
        for cells in zip(one[:, 1:], other[:, 1:], child[:, 1:], strict=True):
            assert any((cells[2] == cell).all() for cell in cells[:2])
        orders = [one[outputs, 0].tolist(), other[outputs, 0].tolist()]
        assert child[outputs, 0].tolist() in orders
    assert ((children != a).any((1, 2)) & (children != b).any((1, 2))).any()


def test_one_mutation_changes_two_facts(arrays: GenomeArrays) -> None:
    """A swap of two output levels is four: two levels that end and two that begin."""
    rng = np.random.default_rng(3)
    parents = arrays.random(200, rng)
    mutants = arrays.mutate(parents, rng)
    swapped = (parents[..., 0] != mutants[..., 0]).sum(1) == 2
    changed = (arrays.facts(parents) != arrays.facts(mutants)).sum(1)
    assert changed.tolist() == np.where(swapped, 4, 2).tolist()


def test_properties_of_the_graph_are_those_of_networkx(arrays: GenomeArrays) -> None:
    """The lengths of the paths come after what the outputs are, in steps from 1 to 6."""
    rng, levels = np.random.default_rng(4), len(arrays.space.levels)
    rows = arrays.random(40, rng)
    before = levels * (2 * levels + len(arrays.space.ops))
    steps = arrays.graph(rows)[:, before : before + 6 * levels**2]
    for row, given in zip(rows, steps.reshape(-1, levels, levels, 6).sum(-1), strict=True):
        genome = genome_of(arrays, arrays.to_choices(row))
        graph = to_graph(genome)
        for at, output in enumerate(genome.outputs.values()):
            lengths = nx.single_target_shortest_path_length(graph, output)
            found = [min(dict(lengths).get(node, 6), 6) for node in range(levels)]
            assert given[at].tolist() == found


def test_properties_of_the_graph_do_not_depend_on_the_numbering() -> None:
    """Two intermediate cells that do not read each other change places."""
    arrays = GenomeArrays(NASFPNSpace())
    rng = np.random.default_rng(5)
    rows = arrays.random(300, rng)
    rows = rows[(rows[:, 1, 1:3] != 5).all(1)]
    swapped = rows.copy()
    swapped[:, [0, 1]] = rows[:, [1, 0]]
    nodes = swapped[:, 2:, 1:3]
    swapped[:, 2:, 1:3] = np.sort(np.where(nodes == 5, 6, np.where(nodes == 6, 5, nodes)), -1)
    assert len(rows) > 100
    assert (arrays.facts(rows) != arrays.facts(swapped)).any(1).sum() > 100
    assert (arrays.graph(rows) == arrays.graph(swapped)).all()
