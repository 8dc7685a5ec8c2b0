"""Which nodes and edges of two genomes correspond."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import networkx as nx

from search_space.genome import Genome
from search_space.graph import to_graph


@dataclass(frozen=True)
class Common:
    """The part of one genome that the other one has, too.

    Attributes:
        nodes: numbers of inputs on levels of both, and of cells whose counterpart has the
            same op and at least one of its incoming edges.
        edges: (source, target) of edges that join the same counterparts in the same role.
    """

    nodes: frozenset[int]
    edges: frozenset[tuple[int, int]]


def common_parts(a: Genome, b: Genome) -> tuple[Common, Common]:
    """Return what ``a`` shares with ``b``, in the numbers of ``a``, and in those of ``b``."""
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
        Common(frozenset(nodes), frozenset(edges)),
        Common(frozenset(nodes.values()), frozenset(edges.values())),
    )


def counterparts(a: Genome, b: Genome) -> dict[int, int]:
    """Return the nodes of ``a`` that have a counterpart in ``b``, one to one, by number.

    Inputs correspond by level, and cells that compute the same from the inputs
    correspond whatever their numbers. Among the others, cells of the same level are
    paired, those with most in common first: that both are the output of their level,
    the op, and edges between counterparts. Two cells that share nothing but the level
    stay alone. ``counterparts(b, a)`` is the inverse where no two pairs are equally good.
    """
    graph_a, graph_b = to_graph(a), to_graph(b)
    pairs = _same_computation(graph_a, graph_b)
    while True:
        scores = {
            (n, m): _likeness(graph_a, graph_b, pairs, n, m)
            for n in graph_a
            if n not in pairs
            for m in graph_b
            if m not in pairs.values() and _may_pair(graph_a.nodes[n], graph_b.nodes[m])
        }
        best = max(scores, key=lambda pair: (scores[pair], -pair[0], -pair[1]), default=None)
        if best is None or scores[best] == 0:
            return dict(sorted(pairs.items()))
        pairs[best[0]] = best[1]


def _same_computation(graph_a: nx.DiGraph, graph_b: nx.DiGraph) -> dict[int, int]:
    names: dict[Hashable, int] = {}  # what a node computes -> a short name for it
    name_of: Callable[[Hashable], int] = lambda key: names.setdefault(key, len(names))  # noqa: E731
    by_name: dict[int, list[int]] = defaultdict(list)
    labels_b = _labels(graph_b, name_of)
    for number, label in labels_b.items():
        by_name[label].append(number)
    pairs = {}
    for number, label in _labels(graph_a, name_of).items():
        if by_name[label]:
            pairs[number] = by_name[label].pop(0)
    return pairs


def _labels(graph: nx.DiGraph, name_of: Callable[[Hashable], int]) -> dict[int, int]:
    labels: dict[int, int] = {}
    for number in sorted(graph):
        node = graph.nodes[number]
        sources = sorted(
            (data["role"], labels[source]) for source, _, data in graph.in_edges(number, data=True)
        )
        labels[number] = name_of((node["level"], node["op"], tuple(sources)))
    return labels


def _may_pair(node_a: dict[str, object], node_b: dict[str, object]) -> bool:
    return node_a["level"] == node_b["level"] and "input" not in (node_a["op"], node_b["op"])


def _likeness(
    graph_a: nx.DiGraph, graph_b: nx.DiGraph, pairs: dict[int, int], n: int, m: int
) -> int:
    node_a, node_b = graph_a.nodes[n], graph_b.nodes[m]
    sources = {pairs.get(s) for s in graph_a.predecessors(n)} & set(graph_b.predecessors(m))
    targets = {pairs.get(t) for t in graph_a.successors(n)} & set(graph_b.successors(m))
    return int(
        2 * (node_a["output"] and node_b["output"])
        + (node_a["op"] == node_b["op"])
        + len(sources)
        + len(targets)
    )
