"""A genome as a networkx graph, and back."""

from __future__ import annotations

from typing import cast

import networkx as nx

from search_space.errors import GenomeError
from search_space.genome import Genome, MergingCell
from search_space.wiring import wire


def to_graph(genome: Genome) -> nx.DiGraph:
    """Return the genome as a new DiGraph; edges run from what is used to what uses it.

    Node attributes: ``level`` (int), ``op`` (a cell's op, ``input`` for an input
    level), ``output`` (bool). Edge attributes: ``role`` (``term``; ``gate`` and
    ``value`` into an attention cell; ``leftover``) and ``slot`` (place among the
    cell's inputs, -1 for a leftover).

    Two genomes compute the same pyramid exactly when their graphs are isomorphic under
    all attributes but ``slot``, which only serves :func:`from_graph`.
    """
    graph, wiring = nx.DiGraph(), wire(genome)
    for number, level in enumerate(wiring.levels):
        graph.add_node(number, level=int(level), op="input", output=False)
    for cell in wiring.cells:
        graph.add_node(cell.number, level=int(cell.level), op=cell.op, output=cell.output)
        for slot, source in enumerate(cell.inputs):
            graph.add_edge(source.node, cell.number, role=source.role, slot=slot)
        for node in cell.leftovers:
            graph.add_edge(node, cell.number, role="leftover", slot=-1)
    return graph


def from_graph(graph: nx.DiGraph) -> Genome:
    """Return the genome of a graph made by :func:`to_graph`.

    Nodes must be numbered 0, 1, ... with the inputs first.

    Raises:
        GenomeError: the numbering, an attribute or a genome rule is broken, or the
            leftover edges are not those that the genome implies.
    """
    if set(graph.nodes) != set(range(len(graph))):
        raise GenomeError("nodes are numbered from 0 without gaps", list(graph.nodes), "nodes")
    for number, data in graph.nodes(data=True):
        for key in ("level", "op", "output"):
            if key not in data:
                raise GenomeError(f"a node has the attribute {key}", data, f"nodes[{number}]")
    for source, target, data in graph.edges(data=True):
        if "role" not in data or "slot" not in data:
            raise GenomeError(
                "an edge has the attributes role and slot", data, f"edges[{source}, {target}]"
            )
    inputs = [n for n in range(len(graph)) if graph.nodes[n]["op"] == "input"]
    if inputs != list(range(len(inputs))):
        raise GenomeError("input levels are the first nodes", inputs, "nodes")
    cells = [_cell(graph, n, n - len(inputs)) for n in range(len(inputs), len(graph))]
    genome = Genome(tuple(cells), tuple(graph.nodes[n]["level"] for n in inputs))
    implied = to_graph(genome)
    if dict(implied.nodes(data=True)) != dict(graph.nodes(data=True)) or {
        (a, b): d for a, b, d in implied.edges(data=True)
    } != {(a, b): d for a, b, d in graph.edges(data=True)}:
        raise GenomeError(
            "outputs, roles and leftovers are those the cells imply", "other attributes", "graph"
        )
    return genome


def _cell(graph: nx.DiGraph, number: int, index: int) -> MergingCell:
    edges = [
        (cast(int, data["slot"]), cast(int, source))
        for source, _, data in graph.in_edges(number, data=True)
        if data["role"] != "leftover"
    ]
    node = graph.nodes[number]
    try:
        return MergingCell(node["level"], node["op"], tuple(s for _, s in sorted(edges)))
    except GenomeError as error:
        raise error.under(f"cells[{index}]") from None
