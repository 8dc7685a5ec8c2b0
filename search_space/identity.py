"""A name for what a genome computes: equal for genomes that differ in numbering only."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search_space.genome import Genome
from search_space.wiring import wire

# Per node: its own attributes, and (role, place) of its sources, sorted.
Form = tuple[tuple[tuple[int, str, bool], tuple[tuple[str, int], ...]], ...]


def genome_id(genome: Genome) -> str:
    """Return 64 hex digits, equal exactly when two genomes compute the same pyramid.

    That is: when their graphs (:func:`search_space.graph.to_graph`) are isomorphic under
    every node attribute and the edges' ``role``. The digits are the SHA-256 of a
    canonical form, hence "exactly" up to collisions of SHA-256.

    Argument. Every node gets a digest of its level, op, output flag and of the sorted
    (role, digest) of its sources. By induction from the inputs, an isomorphism maps
    each node to one of equal digest. Where all digests differ, which is the usual case,
    at most one map is left and it is one exactly when the sets of digests are equal.
    Equal digests are twins: cells with the same past, each with weights of its own. They
    cannot be told apart from below, and whether two users share one twin or take one each
    is what sets genomes apart. Twins are therefore split by their users
    (``_refine``) and, where that leaves a tie, one after the other is made the first
    of its class and the least outcome of all is taken (``_least_form``): that depends
    on no numbering, and it spells out the whole graph.
    """
    graph = _graph(genome)
    colours = _ranks(_digests(graph))
    if len(set(colours)) == len(colours):
        form = _form(colours, graph)
    else:
        form = _least_form(_refine(colours, graph), graph)
    return hashlib.sha256(repr(form).encode()).hexdigest()


@dataclass(frozen=True)
class _Graph:
    """Nodes by number: own attributes, and (role, node) of all sources and of all users."""

    own: list[tuple[int, str, bool]]
    sources: list[list[tuple[str, int]]]
    users: list[list[tuple[str, int]]]


def _graph(genome: Genome) -> _Graph:
    wiring = wire(genome)
    own = [(int(level), "input", False) for level in wiring.levels]
    sources: list[list[tuple[str, int]]] = [[] for _ in wiring.levels]
    for cell in wiring.cells:
        own.append((int(cell.level), cell.op, cell.output))
        sources.append(
            [(source.role, source.node) for source in cell.inputs]
            + [("leftover", node) for node in cell.leftovers]
        )
    users: list[list[tuple[str, int]]] = [[] for _ in own]
    for number, edges in enumerate(sources):
        for role, source in edges:
            users[source].append((role, number))
    return _Graph(own, sources, users)


def _digests(graph: _Graph) -> list[str]:
    digests: list[str] = []
    for own, edges in zip(graph.own, graph.sources, strict=True):
        past = sorted([(role, digests[source]) for role, source in edges])
        digests.append(hashlib.sha256(repr((own, past)).encode()).hexdigest())
    return digests


def _ranks(keys: Sequence[Any]) -> list[int]:
    """Return each key's place among the distinct keys; it depends on no numbering."""
    place = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    return [place[key] for key in keys]


def _refine(colours: list[int], graph: _Graph) -> list[int]:
    """Split classes by the colours of sources and users until nothing splits."""
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


def _tie(colours: list[int]) -> list[int]:
    """Return the nodes of the least colour that several share, none where all differ."""
    shared = [colour for colour, count in Counter(colours).items() if count > 1]
    return [node for node, colour in enumerate(colours) if shared and colour == min(shared)]


def _first(node: int, colours: list[int], graph: _Graph) -> list[int]:
    """Make ``node`` the first of its class, and let the others follow."""
    return _refine(_ranks([(c, n != node) for n, c in enumerate(colours)]), graph)


def _least_form(colours: list[int], graph: _Graph) -> Form:
    """Return the least form over all ways to order the nodes of equal colour.

    Two choices that lead to one form by whatever path are images of each other under a
    symmetry of the graph, so all that follows is equal too and one of them is enough:
    many exact twins cost little. Only contrived genomes need more than a few branches.
    """
    branches: dict[Form, list[int]] = {}
    for node in _tie(colours):
        branch = leaf = _first(node, colours, graph)
        while tie := _tie(leaf):
            leaf = _first(tie[0], leaf, graph)
        branches.setdefault(_form(leaf, graph), branch)
    if not branches:
        return _form(colours, graph)
    return min(_least_form(branch, graph) for branch in branches.values())


def _form(colours: list[int], graph: _Graph) -> Form:
    """Return the graph with its nodes in the order of their colours, all different."""
    return tuple(
        (graph.own[node], tuple(sorted((r, colours[n]) for r, n in graph.sources[node])))
        for node in sorted(range(len(colours)), key=colours.__getitem__)
    )
