"""The legend of a picture: an example and a name for every sign that occurs in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from search_space.drawing.layout import TIP, Layout, PlacedEdge, PlacedNode
from search_space.drawing.marks import PLAIN, Pen, draw_edge, draw_node, draw_text, text_width
from search_space.genome import Level

ROW = 0.6  # height of a line
_SIZE, _EXAMPLE, _AFTER = 8, 0.6, 0.3  # points; units of the example and behind the name

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
class Item:
    """A name and its example: a node where ``op`` is given, else an edge."""

    name: str
    op: str = ""
    output: bool = False
    role: str = "term"
    resample: str = "same"
    pen: Pen = PLAIN

    @property
    def width(self) -> float:
        return _EXAMPLE + 0.15 + text_width(self.name, _SIZE) + _AFTER


def items_of(layouts: Iterable[Layout], pen: Pen = PLAIN) -> list[list[Item]]:
    """Return the items of nodes and those of edges that occur, each in a fixed order."""
    layouts = list(layouts)
    ops = {node.op for layout in layouts for node in layout.nodes}
    edges = [edge for layout in layouts for edge in layout.edges]
    resamples, roles = {edge.resample for edge in edges}, {edge.role for edge in edges}
    cell_ops = [op for op in _OPS if op in ops and op != "input"]
    nodes = [Item(_OPS[op], op=op, pen=pen) for op in _OPS if op in ops]
    return [
        [*nodes, Item("output", op=cell_ops[0], output=True, pen=pen)],
        [
            *(Item(name, resample=r, pen=pen) for r, name in _RESAMPLES.items() if r in resamples),
            *(Item(name, role=r, pen=pen) for r, name in _ROLES.items() if r in roles),
        ],
    ]


def break_rows(groups: Iterable[Sequence[Item]], width: float) -> list[list[Item]]:
    """Break items into rows of at most ``width``, between groups where possible."""
    rows: list[list[Item]] = [[]]
    for group in groups:
        if row_width(rows[-1]) + row_width(group) > width:
            rows.append([])
        for item in group:
            if row_width(rows[-1]) + item.width > width:
                rows.append([])
            rows[-1].append(item)
    return [row for row in rows if row]


def row_width(row: Iterable[Item]) -> float:
    return sum(item.width for item in row)


def draw_legend(axes: Axes, rows: Iterable[Sequence[Item]], left: float, top: float) -> None:
    """Draw rows of items downwards from the corner (``left``, ``top``)."""
    for index, row in enumerate(rows):
        x, y = left, top - ROW * (index + 0.5)
        for item in row:
            _draw_example(axes, item, x, y)
            draw_text(axes, (x + _EXAMPLE + 0.15, y), item.name, size=_SIZE)
            x += item.width


def _draw_example(axes: Axes, item: Item, x: float, y: float) -> None:
    if item.op:
        node = PlacedNode(0, Level(3), item.op, item.output, _EXAMPLE / 2, 0.0)
        draw_node(axes, node, (x, y), item.pen)
    else:
        curve = tuple(((_EXAMPLE - TIP) * k / 3, 0.0) for k in range(4))
        edge = PlacedEdge(0, 1, item.role, item.resample, curve, (_EXAMPLE, 0.0))
        draw_edge(axes, edge, (x, y), item.pen)
