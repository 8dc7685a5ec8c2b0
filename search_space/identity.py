"""The id of a genome: equal for genomes that differ only in the numbering of their cells."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search_space.genome import Genome
from search_space.wiring import wire

# For each node: its (level, op, output), and the sorted (role, index in the form) of its
# sources.
Form = tuple[tuple[tuple[int, str, bool], tuple[tuple[str, int], ...]], ...]


def genome_id(genome: Genome) -> str:
    """Return 64 hex digits, equal exactly when two genomes compute the same pyramid.

    Two genomes compute the same pyramid when their graphs
    (:func:`search_space.graph.to_graph`) are isomorphic under every node attribute and
    the edges' ``role``. The digits are the SHA-256 of a canonical form of the graph, so
    "exactly" holds up to collisions of SHA-256.

    Why this is correct. Each node gets a digest of its level, op and output flag and of
    the sorted (role, digest) of its sources. By induction from the inputs, an isomorphism
    maps each node to a node of equal digest. Usually all digests of a genome differ. Then
    at most one map can be an isomorphism, and it is one exactly when both genomes have
    the same set of digests.

    Nodes of equal digest are twins: they compute the same from the inputs, each with its
    own weights. Their sources do not tell them apart, but their users may: two cells that
    read the same twin differ from two cells that read one twin each. So twins are first
    split by their users (``_refine``). If some are still tied, each of them in turn is
    made the first of its class, and the least of all resulting forms is taken
    (``_least_form``). This form describes the whole graph and does not depend on the
    numbering.
    """
    graph = _read_graph(genome)
    colours = _ranks(_digests(graph))
    if len(set(colours)) == len(colours):
        form = _form(colours, graph)
    else:
        form = _least_form(_refine(colours, graph), graph)
    return hashlib.sha256(repr(form).encode()).hexdigest()


@dataclass(frozen=True)
class _Graph:
    """A genome's graph as lists over node numbers.

    Attributes:
        own: level, op and output flag of each node.
        sources: (role, node) of all nodes that each node reads.
        users: (role, node) of all nodes that read each node.
    """

    own: list[tuple[int, str, bool]]
    sources: list[list[tuple[str, int]]]
    users: list[list[tuple[str, int]]]


def _read_graph(genome: Genome) -> _Graph:
    wiring = wire(genome)
    own = [(int(level), "input", False) for level in wiring.levels]
    sources: list[list[tuple[str, int]]] = [[] for _ in wiring.levels]
    for cell in wiring.cells:
        own.append((int(cell.level), cell.op, cell.output))
        sources.append([(role, node) for node, role in cell.sources])
    users: list[list[tuple[str, int]]] = [[] for _ in own]
    for number, edges in enumerate(sources):
        for role, source in edges:
            users[source].append((role, number))
    return _Graph(own, sources, users)


def _digests(graph: _Graph) -> list[str]:
    """Return a digest of what each node computes from the inputs."""
    digests: list[str] = []
    for own, edges in zip(graph.own, graph.sources, strict=True):
        sources = sorted([(role, digests[source]) for role, source in edges])
        digests.append(hashlib.sha256(repr((own, sources)).encode()).hexdigest())
    return digests


def _ranks(keys: Sequence[Any]) -> list[int]:
    """Return the rank of each key among the distinct keys, in sorted order."""
    ranks = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    return [ranks[key] for key in keys]


def _refine(colours: list[int], graph: _Graph) -> list[int]:
    """Split classes of equal colour by the colours of sources and users until none splits."""
    while True:
        keys = [
            (
                colour,
                tuple(sorted((role, colours[node]) for role, node in sources)),
                tuple(sorted((role, colours[node]) for role, node in users)),
            )
            for colour, sources, users in zip(colours, graph.sources, graph.users, strict=True)
        ]
        finer = _ranks(keys)
        if max(finer) == max(colours):
            return colours
        colours = finer


def _tied_nodes(colours: list[int]) -> list[int]:
    """Return all nodes of the least colour that several nodes share, or an empty list."""
    shared = [colour for colour, count in Counter(colours).items() if count > 1]
    return [node for node, colour in enumerate(colours) if shared and colour == min(shared)]


def _put_first(node: int, colours: list[int], graph: _Graph) -> list[int]:
    """Make ``node`` the first of its class and refine the colours of the others."""
    return _refine(_ranks([(c, n != node) for n, c in enumerate(colours)]), graph)


def _least_form(colours: list[int], graph: _Graph) -> Form:
    """Return the least form over all ways to order the nodes of equal colour.

    If two tied nodes, put first, lead to the same form, then a symmetry of the graph maps
    one to the other. Both branches would give the same forms, so only one is followed.
    Many exact twins therefore cost little, and only contrived genomes need more than a few
    branches.
    """
    branches: dict[Form, list[int]] = {}
    for node in _tied_nodes(colours):
        branch = leaf = _put_first(node, colours, graph)
        while tied := _tied_nodes(leaf):
            leaf = _put_first(tied[0], leaf, graph)
        branches.setdefault(_form(leaf, graph), branch)
    if not branches:
        return _form(colours, graph)
    return min(_least_form(branch, graph) for branch in branches.values())


def _form(colours: list[int], graph: _Graph) -> Form:
    """Return the form of a graph: its nodes in the order of their colours, all different."""
    return tuple(
        (graph.own[node], tuple(sorted((r, colours[n]) for r, n in graph.sources[node])))
        for node in sorted(range(len(colours)), key=colours.__getitem__)
    )
