"""Which nodes and edges of two genomes correspond."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

import networkx as nx

from search_space.genome import Genome
from search_space.graph import to_graph


@dataclass(frozen=True)
class CommonPart:
    """The part of one genome that another genome has, too, in the numbers of the first.

    Attributes:
        nodes: the input levels that both genomes have, and the cells whose counterpart has
            the same op and at least one equal incoming edge.
        edges: (source, target) of each edge that joins the same counterparts, in the same
            role, in the other genome.
    """

    nodes: frozenset[int]
    edges: frozenset[tuple[int, int]]


def common_parts(a: Genome, b: Genome) -> tuple[CommonPart, CommonPart]:
    """Return what two genomes share, first in the numbers of ``a``, then in those of ``b``."""
    pairs = counterparts(a, b)
    graph_a, graph_b = to_graph(a), to_graph(b)
    edges: dict[tuple[int, int], tuple[int, int]] = {}
    for source, target, data in graph_a.edges(data=True):
        twin = pairs.get(source, -1), pairs.get(target, -1)
        if graph_b.has_edge(*twin) and graph_b.edges[twin]["role"] == data["role"]:
            edges[source, target] = twin
    reached = {target for _, target in edges}
    nodes = {
        n: m
        for n, m in pairs.items()
        if graph_a.nodes[n]["op"] == graph_b.nodes[m]["op"]
        and (n in reached or graph_a.nodes[n]["op"] == "input")
    }
    return (
        CommonPart(frozenset(nodes), frozenset(edges)),
        CommonPart(frozenset(nodes.values()), frozenset(edges.values())),
    )


def counterparts(a: Genome, b: Genome) -> dict[int, int]:
    """Return the nodes of ``a`` that have a counterpart in ``b``, each with its counterpart.

    No two nodes have the same counterpart. Input levels correspond if they are the same
    level. Cells that compute the same from the inputs correspond whatever their numbers.
    The remaining cells are paired with cells on the same level, in order of likeness: a
    pair is more alike if both are outputs of their level, if they have the same op, and
    for each edge between counterparts that both have. Cells that share only their level
    are not paired. ``counterparts(b, a)`` is the inverse unless two pairs are equally
    alike.
    """
    graph_a, graph_b = to_graph(a), to_graph(b)
    pairs = _pair_equal_computations(graph_a, graph_b)
    while True:
        scores = {
            (n, m): _likeness(graph_a, graph_b, pairs, n, m)
            for n in graph_a
            if n not in pairs
            for m in graph_b
            if m not in pairs.values() and _can_be_paired(graph_a.nodes[n], graph_b.nodes[m])
        }
        best = max(scores, key=lambda pair: (scores[pair], -pair[0], -pair[1]), default=None)
        if best is None or scores[best] == 0:
            return dict(sorted(pairs.items()))
        pairs[best[0]] = best[1]


def _pair_equal_computations(graph_a: nx.DiGraph, graph_b: nx.DiGraph) -> dict[int, int]:
    """Return pairs of nodes that compute the same from the inputs."""
    known: dict[Hashable, int] = {}  # what a node computes -> label
    nodes_b: dict[int, list[int]] = defaultdict(list)
    for number, label in _labels(graph_b, known).items():
        nodes_b[label].append(number)
    pairs = {}
    for number, label in _labels(graph_a, known).items():
        if nodes_b[label]:
            pairs[number] = nodes_b[label].pop(0)
    return pairs


def _labels(graph: nx.DiGraph, known: dict[Hashable, int]) -> dict[int, int]:
    """Return the label of what each node computes; new labels are added to ``known``."""
    labels: dict[int, int] = {}
    for number in sorted(graph):
        node = graph.nodes[number]
        sources = sorted(
            (data["role"], labels[source]) for source, _, data in graph.in_edges(number, data=True)
        )
        computation = node["level"], node["op"], tuple(sources)
        labels[number] = known.setdefault(computation, len(known))
    return labels


def _can_be_paired(node_a: dict[str, object], node_b: dict[str, object]) -> bool:
    return node_a["level"] == node_b["level"] and "input" not in (node_a["op"], node_b["op"])


def _likeness(
    graph_a: nx.DiGraph, graph_b: nx.DiGraph, pairs: dict[int, int], n: int, m: int
) -> int:
    """Return how alike two cells are, given the pairs so far; 0: they share only the level."""
    node_a, node_b = graph_a.nodes[n], graph_b.nodes[m]
    sources = {pairs.get(s) for s in graph_a.predecessors(n)} & set(graph_b.predecessors(m))
    targets = {pairs.get(t) for t in graph_a.successors(n)} & set(graph_b.successors(m))
    return int(
        2 * (node_a["output"] and node_b["output"])
        + (node_a["op"] == node_b["op"])
        + len(sources)
        + len(targets)
    )
