"""The legend of a picture: an example and a name for every kind of node and edge in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import search_space.plotting  # noqa: F401 - before matplotlib, see there

# isort: split
from matplotlib.axes import Axes

from search_space.drawing.layout import TIP, Layout, PlacedEdge, PlacedNode
from search_space.drawing.marks import PLAIN, Pen, draw_edge, draw_node, draw_text, text_width
from search_space.genome import Level

ROW = 0.6  # height of a row
_SIZE = 8  # of the text, in points
_EXAMPLE, _BEFORE_NAME, _AFTER_NAME = 0.6, 0.15, 0.3  # widths in units

_OPS = {
    "input": "input",
    "sum": "sum",
    "attention": "attention",
    "weighted": "weighted sum",
    "identity": "identity",
}
_RESAMPLES = {"same": "same level", "up": "upsampled", "down": "pooled"}
_ROLES = {"gate": "gate", "leftover": "leftover"}


@dataclass(frozen=True)
class LegendItem:
    """A name with its example, which is a node if ``op`` is given and an edge otherwise.

    Attributes:
        name: the text.
        op: op of the node.
        output: whether the node is an output.
        role: role of the edge.
        resample: resampling of the edge.
        pen: how the example is drawn.
    """

    name: str
    op: str = ""
    output: bool = False
    role: str = "term"
    resample: str = "same"
    pen: Pen = PLAIN

    @property
    def width(self) -> float:
        """Width in units, with the space after the name."""
        return _EXAMPLE + _BEFORE_NAME + text_width(self.name, _SIZE) + _AFTER_NAME


def items_of(layouts: Iterable[Layout], pen: Pen = PLAIN) -> list[list[LegendItem]]:
    """Return the items that occur in the layouts, in two groups: nodes and edges.

    The order within a group is fixed.
    """
    layouts = list(layouts)
    ops = {node.op for layout in layouts for node in layout.nodes}
    edges = [edge for layout in layouts for edge in layout.edges]
    resamples, roles = {edge.resample for edge in edges}, {edge.role for edge in edges}
    cell_ops = [op for op in _OPS if op in ops and op != "input"]
    nodes = [LegendItem(_OPS[op], op=op, pen=pen) for op in _OPS if op in ops]
    nodes.append(LegendItem("output", op=cell_ops[0], output=True, pen=pen))
    by_resample = [
        LegendItem(name, resample=key, pen=pen)
        for key, name in _RESAMPLES.items()
        if key in resamples
    ]
    by_role = [LegendItem(name, role=key, pen=pen) for key, name in _ROLES.items() if key in roles]
    return [nodes, by_resample + by_role]


def break_rows(groups: Iterable[Sequence[LegendItem]], width: float) -> list[list[LegendItem]]:
    """Break items into rows of at most ``width``, between groups if possible."""
    rows: list[list[LegendItem]] = [[]]
    for group in groups:
        if row_width(rows[-1]) + row_width(group) > width:
            rows.append([])
        for item in group:
            if row_width(rows[-1]) + item.width > width:
                rows.append([])
            rows[-1].append(item)
    return [row for row in rows if row]


def row_width(row: Iterable[LegendItem]) -> float:
    """Return the width of a row of items in units."""
    return sum(item.width for item in row)


def draw_legend(axes: Axes, rows: Iterable[Sequence[LegendItem]], left: float, top: float) -> None:
    """Draw rows of items, with their top left corner at (``left``, ``top``)."""
    for index, row in enumerate(rows):
        x, y = left, top - ROW * (index + 0.5)
        for item in row:
            _draw_example(axes, item, x, y)
            draw_text(axes, (x + _EXAMPLE + _BEFORE_NAME, y), item.name, size=_SIZE)
            x += item.width


def _draw_example(axes: Axes, item: LegendItem, x: float, y: float) -> None:
    if item.op:
        node = PlacedNode(0, Level(3), item.op, item.output, _EXAMPLE / 2, 0.0)
        draw_node(axes, node, (x, y), item.pen)
    else:
        curve = tuple(((_EXAMPLE - TIP) * k / 3, 0.0) for k in range(4))
        edge = PlacedEdge(0, 1, item.role, item.resample, curve, (_EXAMPLE, 0.0))
        draw_edge(axes, edge, (x, y), item.pen)
