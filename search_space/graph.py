"""A genome as a networkx graph, and back."""

from __future__ import annotations

from typing import cast

import networkx as nx

from search_space.errors import GenomeError
from search_space.genome import Genome, MergingCell
from search_space.wiring import LEFTOVER, wire


def to_graph(genome: Genome) -> nx.DiGraph:
    """Return the genome as a new DiGraph with an edge from each node to each cell that reads it.

    Node attributes: ``level`` (int), ``op`` (the cell's op, or ``input`` for an input
    level) and ``output`` (bool). Edge attributes: ``role`` (``gate`` or ``value`` into an
    attention cell, ``term`` into any other, ``leftover``) and ``slot`` (index among the
    cell's inputs, -1 for a leftover).

    Two genomes compute the same pyramid exactly when their graphs are isomorphic under
    all attributes except ``slot``, which only :func:`from_graph` needs.
    """
    graph, wiring = nx.DiGraph(), wire(genome)
    for number, level in enumerate(wiring.levels):
        graph.add_node(number, level=int(level), op="input", output=False)
    for cell in wiring.cells:
        graph.add_node(cell.number, level=int(cell.level), op=cell.op, output=cell.output)
        for index, (node, role) in enumerate(cell.sources):
            slot = -1 if role == LEFTOVER else index
            graph.add_edge(node, cell.number, role=role, slot=slot)
    return graph


def from_graph(graph: nx.DiGraph) -> Genome:
    """Return the genome of a graph made by :func:`to_graph`.

    Nodes must be numbered 0, 1, ... with the input levels first.

    Raises:
        GenomeError: the numbering is wrong, an attribute is missing, a genome rule is
            broken, or the outputs, roles or leftovers are not those that the cells imply.
    """
    if set(graph.nodes) != set(range(len(graph))):
        raise GenomeError("nodes must be numbered from 0 without gaps", list(graph.nodes), "nodes")
    for number, data in graph.nodes(data=True):
        for key in ("level", "op", "output"):
            if key not in data:
                raise GenomeError(f"a node must have the attribute {key}", data, f"nodes[{number}]")
    for source, target, data in graph.edges(data=True):
        if "role" not in data or "slot" not in data:
            raise GenomeError(
                "an edge must have the attributes role and slot",
                data,
                f"edges[{source}, {target}]",
            )
    inputs = [n for n in range(len(graph)) if graph.nodes[n]["op"] == "input"]
    if inputs != list(range(len(inputs))):
        raise GenomeError("input levels must be the first nodes", inputs, "nodes")
    cells = [_make_cell(graph, n, n - len(inputs)) for n in range(len(inputs), len(graph))]
    genome = Genome(tuple(cells), tuple(graph.nodes[n]["level"] for n in inputs))
    implied = to_graph(genome)
    if dict(implied.nodes(data=True)) != dict(graph.nodes(data=True)) or {
        (a, b): d for a, b, d in implied.edges(data=True)
    } != {(a, b): d for a, b, d in graph.edges(data=True)}:
        raise GenomeError(
            "outputs, roles and leftovers must be those that the cells imply",
            "other attributes",
            "graph",
        )
    return genome


def _make_cell(graph: nx.DiGraph, number: int, index: int) -> MergingCell:
    edges = [
        (cast(int, data["slot"]), cast(int, source))
        for source, _, data in graph.in_edges(number, data=True)
        if data["role"] != LEFTOVER
    ]
    node = graph.nodes[number]
    try:
        return MergingCell(node["level"], node["op"], tuple(s for _, s in sorted(edges)))
    except GenomeError as error:
        raise error.under(f"cells[{index}]") from None
