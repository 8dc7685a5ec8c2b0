"""Pictures of genomes with matplotlib: one, two with their difference, a gallery.

Figures are made without pyplot, so drawing needs no display and no backend, and threads
may draw at the same time.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from search_space.drawing.difference import Common, common_parts
from search_space.drawing.layout import HALF_ROW, Layout, arrange
from search_space.drawing.legend import ROW, Item, break_rows, draw_legend, items_of, row_width
from search_space.drawing.marks import (
    BAND,
    INCH,
    INK,
    PLAIN,
    QUIET,
    Pen,
    Point,
    draw_edge,
    draw_node,
    draw_text,
    text_width,
)
from search_space.errors import PictureError
from search_space.genome import Genome

SUFFIXES = (".pdf", ".png", ".svg")

_SIDE, _TITLE, _EDGE, _FOOT = 1.05, 0.45, 0.12, 0.55  # beside, above and below the grid
_MARGIN = 0.2  # at the left of titles and legend
_TITLE_SIZE = 10
_WIDTH = 20.0  # where rows of panels are broken

_ONLY_A = Pen("#D55E00", "#FBE3D3", 1.8, 1)  # vermillion
_ONLY_B = Pen("#0072B2", "#D3E7F3", 1.8, 1)  # blue
_BOTH = Pen("#B0B0B0", "#FFFFFF", 0.9)
_NEUTRAL = Pen(INK, "#FFFFFF")

_MATPLOTLIB = threading.Lock()  # its settings are global, its fonts not made for threads
_STYLE: list[Any] = ["default", {"svg.hashsalt": "nasfpn"}]  # the salt: ids not from chance


@dataclass(frozen=True)
class _Panel:
    layout: Layout
    title: str | None = None
    node_pens: Mapping[int, Pen] = field(default_factory=dict)
    edge_pens: Mapping[tuple[int, int], Pen] = field(default_factory=dict)

    @property
    def width(self) -> float:
        title = text_width(self.title or "", _TITLE_SIZE, "bold") + 2 * _MARGIN
        return max(self.layout.width + 2 * _SIDE, title)

    @property
    def height(self) -> float:
        title = _TITLE if self.title else 0.0
        return self.layout.height + 2 * HALF_ROW + _EDGE + _FOOT + title


def draw_genome(
    genome: Genome, path: str | Path | None = None, *, title: str | None = None
) -> Figure:
    """Draw a genome: rows are levels, the coarsest on top, columns the order of cells.

    Args:
        path: where to write the picture, too: PNG, SVG or PDF by its suffix. The same
            genome and title give the same bytes with the same version of matplotlib.

    Raises:
        PictureError: ``path`` has another suffix; nothing is drawn then.
    """
    _check_suffix(path)
    panel = _Panel(arrange(genome), title)
    return _finish([panel], items_of([panel.layout]), path)


def draw_difference(
    a: Genome, b: Genome, path: str | Path | None = None, *, names: tuple[str, str] = ("a", "b")
) -> Figure:
    """Draw two genomes with what they share in grey and the rest in colour and bold.

    Which cells are the same is up to ``difference.counterparts``; a cell whose op
    changed is drawn as different, together with its edges.

    Args:
        path: as in :func:`draw_genome`.
        names: titles of the two.

    Raises:
        PictureError: ``path`` has another suffix than PNG, SVG or PDF.
    """
    _check_suffix(path)
    panels = [
        _compared(genome, name, common, pen)
        for genome, name, common, pen in zip(
            (a, b), names, common_parts(a, b), (_ONLY_A, _ONLY_B), strict=True
        )
    ]
    items = [
        Item("in both", pen=_BOTH),
        Item(f"only in {names[0]}", pen=_ONLY_A),
        Item(f"only in {names[1]}", pen=_ONLY_B),
    ]
    legend = items_of((panel.layout for panel in panels), _NEUTRAL)
    return _finish(panels, [items, *legend], path)


def draw_gallery(genomes: Mapping[str, Genome], path: str | Path | None = None) -> Figure:
    """Draw several genomes, each under its name, with one legend.

    Args:
        path: as in :func:`draw_genome`.

    Raises:
        PictureError: ``path`` has another suffix than PNG, SVG or PDF, or there is no genome.
    """
    _check_suffix(path)
    if not genomes:
        raise PictureError("a gallery has at least one genome, got none")
    panels = [_Panel(arrange(genome), name) for name, genome in genomes.items()]
    return _finish(panels, items_of(panel.layout for panel in panels), path)


def _compared(genome: Genome, name: str, common: Common, only: Pen) -> _Panel:
    layout = arrange(genome)
    return _Panel(
        layout,
        name,
        {n.number: _BOTH if n.number in common.nodes else only for n in layout.nodes},
        {
            (e.source, e.target): _BOTH if (e.source, e.target) in common.edges else only
            for e in layout.edges
        },
    )


def _flow(panels: Sequence[_Panel]) -> list[list[_Panel]]:
    """Break panels into rows no wider than ``_WIDTH``, unless a single one is."""
    rows: list[list[_Panel]] = [[]]
    for panel in panels:
        if rows[-1] and sum(p.width for p in rows[-1]) + panel.width > _WIDTH:
            rows.append([])
        rows[-1].append(panel)
    return rows


def _finish(
    panels: Sequence[_Panel], legend: Sequence[Sequence[Item]], path: str | Path | None
) -> Figure:
    with _MATPLOTLIB, style.context(_STYLE):
        figure = _compose(panels, legend)
        if path is not None:
            _save(figure, Path(path))
    return figure


def _compose(panels: Sequence[_Panel], legend: Sequence[Sequence[Item]]) -> Figure:
    """Put panels and below them the legend on a figure of their size."""
    rows = _flow(panels)
    width = max(sum(panel.width for panel in row) for row in rows)
    heights = [max(panel.height for panel in row) for row in rows]
    lines = break_rows(legend, width - 2 * _MARGIN)
    width = max(width, *(row_width(line) + 2 * _MARGIN for line in lines))
    foot = ROW * len(lines) + _EDGE
    height = sum(heights) + foot
    figure = Figure(figsize=(INCH * width, INCH * height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    top = height
    for row, tall in zip(rows, heights, strict=True):
        left = 0.0
        for panel in row:
            _draw_panel(axes, panel, (left, top))
            left += panel.width
        top -= tall
    draw_legend(axes, lines, _MARGIN, foot)
    return figure


def _draw_panel(axes: Axes, panel: _Panel, corner: Point) -> None:
    """Draw a panel with its top left corner at ``corner``."""
    layout = panel.layout
    title = _TITLE if panel.title else 0.0
    x, y = corner[0] + _SIDE, corner[1] - title - _EDGE - HALF_ROW - layout.height
    if panel.title:
        place = (corner[0] + _MARGIN, corner[1] - 0.32)
        draw_text(axes, place, panel.title, size=_TITLE_SIZE, weight="bold")
    for index, level in enumerate(layout.levels):
        row = y + layout.row(level)
        if index % 2 == 0:
            _band(axes, (x - 0.9, row - HALF_ROW), layout.width + 1.8)
        name = level.name.upper()
        draw_text(axes, (x - 0.35, row), name, size=9, ha="right")
        draw_text(axes, (x + layout.width + 0.82, row), name, size=9, ha="right", weight="bold")
    for node in layout.nodes:
        draw_node(axes, node, (x, y), panel.node_pens.get(node.number, PLAIN))
    for edge in layout.edges:
        draw_edge(axes, edge, (x, y), panel.edge_pens.get((edge.source, edge.target), PLAIN))
    numbers = {node.x: str(node.number) for node in layout.nodes if node.op != "input"}
    numbers[0.0] = f"0\N{EN DASH}{len(layout.levels) - 1}"
    for column, number in numbers.items():
        place = (x + column, y - HALF_ROW - 0.2)
        draw_text(axes, place, number, size=7, ha="center", color=QUIET)


def _band(axes: Axes, corner: Point, width: float) -> None:
    axes.add_patch(Rectangle(corner, width, 2 * HALF_ROW, color=BAND, linewidth=0, zorder=0))


def _check_suffix(path: str | Path | None) -> None:
    if path is not None and Path(path).suffix.lower() not in SUFFIXES:
        raise PictureError(
            f"a picture's suffix is one of {', '.join(SUFFIXES)}, got "
            f"{Path(path).suffix!r} (at {path})"
        )


def _save(figure: Figure, path: Path) -> None:
    kind = path.suffix.lower()[1:]
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    path.write_bytes(buffer.getvalue())
