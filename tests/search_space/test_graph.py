"""A genome as a networkx graph: one by hand, round trips, and broken graphs."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx
import numpy as np
import pytest

from search_space import Genome, GenomeError, MergingCell, from_graph, to_graph


@pytest.fixture
def genome() -> Genome:
    """Nodes 0 and 1 are input levels; 3 is a leftover of 5, the output of level 4."""
    cells = (
        MergingCell(4, "attention", (0, 1)),
        MergingCell(4, "attention", (1, 2)),
        MergingCell(3, "sum", (2, 0)),
        MergingCell(4, "identity", (2,)),
    )
    return Genome(cells, (3, 4))


def test_graph_by_hand(genome: Genome) -> None:
    graph = to_graph(genome)
    assert dict(graph.nodes(data=True)) == {
        0: {"level": 3, "op": "input", "output": False},
        1: {"level": 4, "op": "input", "output": False},
        2: {"level": 4, "op": "attention", "output": False},
        3: {"level": 4, "op": "attention", "output": False},
        4: {"level": 3, "op": "sum", "output": True},
        5: {"level": 4, "op": "identity", "output": True},
    }
    assert {(a, b): (d["role"], d["slot"]) for a, b, d in graph.edges(data=True)} == {
        (0, 2): ("value", 0),  # level 3 is finer than level 4, so input 1 gates
        (1, 2): ("gate", 1),
        (1, 3): ("gate", 0),  # both on level 4: the first one gates
        (2, 3): ("value", 1),
        (2, 4): ("term", 0),
        (0, 4): ("term", 1),
        (2, 5): ("term", 0),
        (3, 5): ("leftover", -1),
    }


def test_random_genomes_survive_the_graph(
    random_genome: Callable[[np.random.Generator], Genome],
) -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        genome = random_genome(rng)
        graph = to_graph(genome)
        assert nx.is_directed_acyclic_graph(graph)
        assert from_graph(graph) == genome


def _relabel(graph: nx.DiGraph) -> nx.DiGraph:
    return nx.relabel_nodes(graph, {5: 6})


def _swap_inputs_and_cells(graph: nx.DiGraph) -> nx.DiGraph:
    return nx.relabel_nodes(graph, {1: 2, 2: 1})


def _without(graph: nx.DiGraph, key: str) -> nx.DiGraph:
    del graph.nodes[2][key]
    return graph


def _without_slot(graph: nx.DiGraph) -> nx.DiGraph:
    del graph.edges[0, 2]["slot"]
    return graph


def _unknown_op(graph: nx.DiGraph) -> nx.DiGraph:
    graph.nodes[4]["op"] = "add"
    return graph


def _no_leftover(graph: nx.DiGraph) -> nx.DiGraph:
    graph.remove_edge(3, 5)
    return graph


def _swapped_roles(graph: nx.DiGraph) -> nx.DiGraph:
    graph.edges[0, 2]["role"], graph.edges[1, 2]["role"] = "gate", "value"
    return graph


@pytest.mark.parametrize(
    ("change", "rule", "path"),
    [
        (_relabel, "from 0", "nodes"),
        (_swap_inputs_and_cells, "first nodes", "nodes"),
        (lambda g: _without(g, "level"), "attribute level", "nodes[2]"),
        (lambda g: _without(g, "op"), "attribute op", "nodes[2]"),
        (lambda g: _without(g, "output"), "attribute output", "nodes[2]"),
        (_without_slot, "role and slot", "edges[0, 2]"),
        (_unknown_op, "sum, attention", "cells[2].op"),
        (_no_leftover, "outputs, roles and leftovers", "graph"),
        (_swapped_roles, "outputs, roles and leftovers", "graph"),
    ],
)
def test_a_broken_graph_is_refused(
    genome: Genome, change: Callable[[nx.DiGraph], nx.DiGraph], rule: str, path: str
) -> None:
    with pytest.raises(GenomeError) as caught:
        from_graph(change(to_graph(genome)))
    assert rule in caught.value.rule
    assert caught.value.path == path
