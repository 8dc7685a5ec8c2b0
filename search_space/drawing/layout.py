"""Where the nodes and edges of a genome's picture lie; needs no drawing library.

Rows are levels, the coarsest on top. The input levels are in the first column, and each
cell has its own column, in order. The unit is the distance between the columns of two
neighbouring cells. x runs to the right from the input column, y up from the finest level.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_space.drawing.routing import Array, Disc, bernstein, route, sample
from search_space.errors import PictureError
from search_space.genome import Genome, Level
from search_space.graph import to_graph

MOST_INPUTS = 400  # they take some 10 s to draw; 100 cells of two inputs have 200
Mask = NDArray[np.bool_]

ROW = 1.15  # height of a row: more than a column's width, for the curves between rows
FIRST_GAP = 1.3  # from the input column to the first cell: edges fan out there
HALF_ROW = ROW / 2
TIP = 0.16  # length of an arrow tip
GAP = 0.02  # from the point of a tip to the node
RING = 0.065  # from the border of an output to the second line around it


@dataclass(frozen=True)
class Shape:
    """A regular polygon, or a circle if ``sides`` is 0.

    Attributes:
        sides: number of sides.
        radius: distance from the centre to a corner, in units.
        turn: angle of the first corner, in radians from the x axis.
    """

    sides: int
    radius: float
    turn: float = 0.0

    def rim(self, angles: Array) -> Array:
        """Return the distance from the centre to the border in each direction (radians)."""
        if not self.sides:
            return np.full_like(angles, self.radius)
        sector = 2 * math.pi / self.sides
        offsets = (angles - self.turn) % sector - sector / 2
        rim: Array = self.radius * math.cos(sector / 2) / np.cos(offsets)
        return rim

    def grown(self, width: float) -> Shape:
        """Return the same shape with its sides moved outwards by ``width``."""
        factor = math.cos(math.pi / self.sides) if self.sides else 1.0
        return Shape(self.sides, self.radius + width / factor, self.turn)


SHAPES = {
    "input": Shape(0, 0.13),
    "sum": Shape(0, 0.21),
    "attention": Shape(4, 0.27),
    "weighted": Shape(6, 0.23),
    "identity": Shape(4, 0.19, math.pi / 4),
}


@dataclass(frozen=True)
class PlacedNode:
    """A node of the genome with its position.

    Attributes:
        number: node number.
        level: level of the node.
        op: the cell's op, or ``input`` for an input level.
        output: whether the node is the output of its level.
        x: x of the centre.
        y: y of the centre.
    """

    number: int
    level: Level
    op: str
    output: bool
    x: float
    y: float

    @property
    def outline(self) -> Shape:
        """The outermost border; for an output, the second line around the node."""
        shape = SHAPES[self.op]
        return shape.grown(RING) if self.output else shape


@dataclass(frozen=True)
class PlacedEdge:
    """An edge of the genome as a curve from the border of one node to that of another.

    Attributes:
        source: number of the node that is read.
        target: number of the cell that reads it.
        role: as in ``graph.to_graph``.
        resample: ``up`` (coarse to fine: upsampled), ``down`` (fine to coarse: pooled)
            or ``same``.
        curve: control points of a chain of cubic Bezier segments, which ends at the base
            of the arrow tip.
        tip: point of the arrow tip, ``GAP`` from the border of the target.
    """

    source: int
    target: int
    role: str
    resample: str
    curve: tuple[tuple[float, float], ...]
    tip: tuple[float, float]

    def points(self, per_segment: int = 32) -> Array:
        """Return points from the source along the edge to its tip, shape ``(n, 2)``."""
        return np.vstack([sample(np.array(self.curve), per_segment), self.tip])


@dataclass(frozen=True)
class Layout:
    """The positions of all nodes and edges of a genome.

    Attributes:
        nodes: by node number.
        edges: sorted by source and target.
        levels: the levels of the rows, from the bottom up.
        width: x of the last column.
        height: y of the top row.
    """

    nodes: tuple[PlacedNode, ...]
    edges: tuple[PlacedEdge, ...]
    levels: tuple[Level, ...]
    width: float
    height: float

    def row(self, level: int) -> float:
        """Return the y of a level's row."""
        return self.levels.index(Level(level)) * ROW


def arrange(genome: Genome) -> Layout:
    """Return the layout of a genome.

    No two nodes touch, and an edge touches no node except its source and target.

    Raises:
        PictureError: the cells have more than ``MOST_INPUTS`` inputs.
    """
    count = sum(len(cell.inputs) for cell in genome.cells)
    if count > MOST_INPUTS:
        raise PictureError(
            f"cells of a genome to draw must have at most {MOST_INPUTS} inputs together, "
            f"got {count}"
        )
    graph = to_graph(genome)
    inputs = len(genome.levels)
    nodes = []
    for number, level in enumerate(genome.node_levels):
        x = 0.0 if number < inputs else FIRST_GAP + (number - inputs)
        y = genome.levels.index(level) * ROW
        data = graph.nodes[number]
        nodes.append(PlacedNode(number, level, data["op"], data["output"], x, y))
    ends = sorted(graph.edges)
    curves = route([Disc(n.x, n.y, n.outline.radius) for n in nodes], ends)
    edges = tuple(
        _place_edge(nodes[a], nodes[b], graph.edges[a, b]["role"], curve)
        for (a, b), curve in zip(ends, curves, strict=True)
    )
    return Layout(tuple(nodes), edges, genome.levels, nodes[-1].x, (inputs - 1) * ROW)


def _place_edge(source: PlacedNode, target: PlacedNode, role: str, curve: Array) -> PlacedEdge:
    """Return an edge whose curve, from centre to centre, is cut at the borders and the tip."""
    curve = _cut_start(curve, lambda points: _covers(source, points, 0.0))
    back = _cut_start(curve[::-1], lambda points: _covers(target, points, GAP))
    tip = back[0]
    body = _cut_start(back, lambda points: np.hypot(*(points - tip).T) < TIP)[::-1]
    steps = source.level - target.level
    return PlacedEdge(
        source.number,
        target.number,
        role,
        "same" if steps == 0 else "up" if steps > 0 else "down",
        tuple((float(x), float(y)) for x, y in body),
        (float(tip[0]), float(tip[1])),
    )


def _covers(node: PlacedNode, points: Array, margin: float) -> Mask:
    dx, dy = points[:, 0] - node.x, points[:, 1] - node.y
    covered: Mask = np.hypot(dx, dy) < node.outline.rim(np.arctan2(dy, dx)) + margin
    return covered


def _cut_start(curve: Array, inside: Callable[[Array], Mask]) -> Array:
    """Return the rest of a curve after it first leaves the region in which it starts."""
    steps = 32
    outside = np.argmin(inside(sample(curve, steps)))
    segment, step = divmod(max(int(outside) - 1, 0), steps)
    controls = curve[3 * segment : 3 * segment + 4]
    low, high = step / steps, (step + 1) / steps
    for _ in range(2):
        grid = np.linspace(low, high, steps + 1)
        first = max(int(np.argmin(inside(bernstein(grid) @ controls))), 1)
        low, high = grid[first - 1], grid[first]
    return np.vstack([_cut_cubic(controls, high), curve[3 * segment + 4 :]])


def _cut_cubic(controls: Array, t: float) -> Array:
    """Return the control points of the part of a cubic after parameter t (de Casteljau)."""
    rest = [controls[-1]]
    while len(controls) > 1:
        controls = (1 - t) * controls[:-1] + t * controls[1:]
        rest.append(controls[-1])
    return np.array(rest[::-1])
