"""Pictures of genomes: one, two with their difference, or a gallery.

Figures are made without pyplot, so drawing needs no display and no backend, and several
threads may draw at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import search_space.plotting  # noqa: F401 - before matplotlib, see there

# isort: split
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from search_space.drawing.difference import CommonPart, common_parts
from search_space.drawing.layout import HALF_ROW, Layout, arrange
from search_space.drawing.legend import (
    ROW,
    LegendItem,
    break_rows,
    draw_legend,
    items_of,
    row_width,
)
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
from search_space.files import atomic_write
from search_space.genome import Genome

SUFFIXES = (".pdf", ".png", ".svg")

# Lengths are in picture units.
_SIDE = 1.05  # between the grid and the sides of its panel, for the names of the levels
_TITLE = 0.45  # height of a title
_EDGE = 0.12  # above the grid, and below the legend
_FOOT = 0.55  # below the grid, for the node numbers
_MARGIN = 0.2  # to the left of titles and legend
_TITLE_SIZE = 10  # in points
_WIDTH = 20.0  # greatest width of a row of panels

_ONLY_A = Pen("#D55E00", "#FBE3D3", 1.8, 1)  # vermillion
_ONLY_B = Pen("#0072B2", "#D3E7F3", 1.8, 1)  # blue
_BOTH = Pen("#B0B0B0", "#FFFFFF", 0.9)
_NEUTRAL = Pen(INK, "#FFFFFF")

# matplotlib's settings are global, and its font code is not thread-safe.
_MATPLOTLIB = threading.Lock()
# Without a salt, the ids in SVG files are random.
_STYLE: list[Any] = ["default", {"svg.hashsalt": "nasfpn"}]


@dataclass(frozen=True)
class _Panel:
    """The part of a figure that shows one genome; pens by node number and by edge."""

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
    """Draw a genome: rows are levels, the coarsest on top; columns are cells, in order.

    Args:
        genome: the genome to draw.
        path: file to write the picture to: PNG, SVG or PDF by its suffix; None writes no
            file. With the same version of matplotlib, equal genomes and titles give equal
            bytes.
        title: text above the picture.

    Raises:
        PictureError: ``path`` has another suffix; nothing is drawn then.
    """
    check_suffix(path)
    panel = _Panel(arrange(genome), title)
    return _render([panel], items_of([panel.layout]), path)


def draw_difference(
    a: Genome, b: Genome, path: str | Path | None = None, *, names: tuple[str, str] = ("a", "b")
) -> Figure:
    """Draw two genomes: what they share in grey, the rest in bold colours.

    ``difference.counterparts`` decides which cells are the same. A cell whose op changed
    is drawn as different, together with its edges.

    Args:
        path: as in :func:`draw_genome`.
        names: titles of the two genomes.

    Raises:
        PictureError: the suffix of ``path`` is not that of a PNG, SVG or PDF.
    """
    check_suffix(path)
    panels = [
        _difference_panel(genome, name, common, pen)
        for genome, name, common, pen in zip(
            (a, b), names, common_parts(a, b), (_ONLY_A, _ONLY_B), strict=True
        )
    ]
    items = [
        LegendItem("in both", pen=_BOTH),
        LegendItem(f"only in {names[0]}", pen=_ONLY_A),
        LegendItem(f"only in {names[1]}", pen=_ONLY_B),
    ]
    legend = items_of((panel.layout for panel in panels), _NEUTRAL)
    return _render(panels, [items, *legend], path)


def draw_gallery(genomes: Mapping[str, Genome], path: str | Path | None = None) -> Figure:
    """Draw several genomes, each under its name, with one legend.

    Args:
        genomes: the genomes by name.
        path: as in :func:`draw_genome`.

    Raises:
        PictureError: the suffix of ``path`` is not that of a PNG, SVG or PDF, or there is
            no genome.
    """
    check_suffix(path)
    if not genomes:
        raise PictureError("a gallery must have at least one genome, got none")
    panels = [_Panel(arrange(genome), name) for name, genome in genomes.items()]
    return _render(panels, items_of(panel.layout for panel in panels), path)


def _difference_panel(genome: Genome, name: str, common: CommonPart, only: Pen) -> _Panel:
    """Return the panel of a genome with everything outside ``common`` drawn by ``only``."""
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


def _break_panels(panels: Sequence[_Panel]) -> list[list[_Panel]]:
    """Break panels into rows of at most ``_WIDTH``; a wider panel has its own row."""
    rows: list[list[_Panel]] = [[]]
    for panel in panels:
        if rows[-1] and sum(p.width for p in rows[-1]) + panel.width > _WIDTH:
            rows.append([])
        rows[-1].append(panel)
    return rows


def _render(
    panels: Sequence[_Panel], legend: Sequence[Sequence[LegendItem]], path: str | Path | None
) -> Figure:
    """Return the figure and write it to ``path``, if there is one."""
    with _MATPLOTLIB, style.context(_STYLE):
        figure = _compose(panels, legend)
        if path is not None:
            _save(figure, Path(path))
    return figure


def _compose(panels: Sequence[_Panel], legend: Sequence[Sequence[LegendItem]]) -> Figure:
    """Return a figure with the panels and the legend below them; it has just their size."""
    rows = _break_panels(panels)
    width = max(sum(panel.width for panel in row) for row in rows)
    heights = [max(panel.height for panel in row) for row in rows]
    legend_rows = break_rows(legend, width - 2 * _MARGIN)
    width = max(width, *(row_width(row) + 2 * _MARGIN for row in legend_rows))
    legend_height = ROW * len(legend_rows) + _EDGE
    height = sum(heights) + legend_height
    figure = Figure(figsize=(INCH * width, INCH * height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    top = height
    for panel_row, row_height in zip(rows, heights, strict=True):
        left = 0.0
        for panel in panel_row:
            _draw_panel(axes, panel, (left, top))
            left += panel.width
        top -= row_height
    draw_legend(axes, legend_rows, _MARGIN, legend_height)
    return figure


def _draw_panel(axes: Axes, panel: _Panel, corner: Point) -> None:
    """Draw a panel with its top left corner at ``corner``."""
    layout = panel.layout
    title = _TITLE if panel.title else 0.0
    x, y = corner[0] + _SIDE, corner[1] - title - _EDGE - HALF_ROW - layout.height
    if panel.title:
        position = (corner[0] + _MARGIN, corner[1] - 0.32)
        draw_text(axes, position, panel.title, size=_TITLE_SIZE, weight="bold")
    for index, level in enumerate(layout.levels):
        row = y + layout.row(level)
        if index % 2 == 0:
            _draw_band(axes, (x - 0.9, row - HALF_ROW), layout.width + 1.8)
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
        position = (x + column, y - HALF_ROW - 0.2)
        draw_text(axes, position, number, size=7, ha="center", color=QUIET)


def _draw_band(axes: Axes, corner: Point, width: float) -> None:
    """Draw the background of a row with its lower left corner at ``corner``."""
    axes.add_patch(Rectangle(corner, width, 2 * HALF_ROW, color=BAND, linewidth=0, zorder=0))


def check_suffix(path: str | Path | None) -> None:
    """Check the suffix of a picture.

    Raises:
        PictureError: it is not that of a PNG, SVG or PDF.
    """
    if path is not None and Path(path).suffix.lower() not in SUFFIXES:
        raise PictureError(
            f"suffix of a picture must be one of {', '.join(SUFFIXES)}, "
            f"got {Path(path).suffix!r} (at {path})"
        )


def _save(figure: Figure, path: Path) -> None:
    kind = path.suffix.lower()[1:]
    # No dates, so that equal pictures are equal bytes.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    with atomic_write(path) as draft:
        figure.savefig(draft, format=kind, dpi=200, metadata=metadata)
