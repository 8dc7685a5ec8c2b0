"""Draws nodes, edges and texts on matplotlib axes, in picture units.

Colours are those of Okabe and Ito (jfly.uni-koeln.de/color). Nothing is shown by colour
alone: shapes, arrow tips and line styles show it, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import search_space.plotting  # noqa: F401 - before matplotlib, see there

# isort: split
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, Patch, PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.textpath import TextPath, text_to_path
from matplotlib.transforms import Affine2D

from search_space.drawing.layout import SHAPES, TIP, PlacedEdge, PlacedNode, Shape
from search_space.fonts import FAMILY, families
from search_space.names import shown

Point = tuple[float, float]

INCH = 0.62  # inches per picture unit
INK, QUIET, BAND = "#000000", "#6E6E6E", "#F3F3F3"

FILLS = {
    "input": "#5A5A5A",
    # Sky blue, orange and bluish green, lightened because the signs on them are dark.
    "sum": "#A9DAF5",
    "attention": "#F0C566",
    "weighted": "#66C7AB",
    "identity": "#FFFFFF",
}
LINES = {"same": INK, "up": "#D55E00", "down": "#0072B2"}  # vermillion, blue
_SIGNS = {"attention": "\N{GREEK SMALL LETTER SIGMA}", "weighted": "w"}
_LEFTOVER_DASHES = (0, (3.2, 2.0))


@dataclass(frozen=True)
class Pen:
    """How to draw a node or an edge, as far as its kind does not determine it.

    Attributes:
        line: colour of lines. None: black for nodes, by resampling for edges.
        fill: fill colour of nodes. None: by op.
        weight: factor on line widths.
        front: an edge is drawn over edges with a lower value.
    """

    line: str | None = None
    fill: str | None = None
    weight: float = 1.0
    front: int = 0


PLAIN = Pen()


def draw_node(axes: Axes, node: PlacedNode, origin: Point, pen: Pen = PLAIN) -> None:
    """Draw a node of a layout whose origin is at ``origin``."""
    centre = (origin[0] + node.x, origin[1] + node.y)
    line = pen.line or INK
    style: dict[str, Any] = {"edgecolor": line, "linewidth": 0.9 * pen.weight, "zorder": 5}
    if node.output:
        axes.add_patch(_make_polygon(node.outline, centre, facecolor="white", **style))
    fill = pen.fill or FILLS[node.op]
    axes.add_patch(_make_polygon(SHAPES[node.op], centre, facecolor=fill, **style))
    if node.op == "sum":
        _draw_plus(axes, centre, line)
    elif node.op in _SIGNS:
        _draw_sign(axes, centre, _SIGNS[node.op], line)


def draw_edge(axes: Axes, edge: PlacedEdge, origin: Point, pen: Pen = PLAIN) -> None:
    """Draw an edge of a layout whose origin is at ``origin``.

    A gate is a double line, a leftover is dashed. The tip shows the resampling: hollow for
    upsampling, filled for pooling, an open angle if the level stays the same.
    """
    color = pen.line or LINES[edge.resample]
    curve = [(x + origin[0], y + origin[1]) for x, y in edge.curve]
    tip = (edge.tip[0] + origin[0], edge.tip[1] + origin[1])
    end = tip if edge.resample == "same" else curve[-1]
    path = Path([*curve, end], [Path.MOVETO, *[Path.CURVE4] * (len(curve) - 1), Path.LINETO])
    width, order = 1.1 * pen.weight, 3 + pen.front / 10
    strokes: list[tuple[float, str, Any]] = [(width, color, "-")]
    if edge.role == "gate":
        strokes = [(width + 2.0, color, "-"), (width, "white", "-")]
    elif edge.role == "leftover":
        strokes = [(width, color, _LEFTOVER_DASHES)]
    # The first stroke is white and separates the edge from those that it crosses.
    for stroke, paint, dashes in [(strokes[0][0] + 1.2, "white", "-"), *strokes]:
        axes.add_patch(
            PathPatch(
                path,
                fill=False,
                edgecolor=paint,
                linewidth=stroke,
                linestyle=dashes,
                capstyle="butt",
                joinstyle="round",
                zorder=order,
            )
        )
    axes.add_patch(_make_tip(curve[-1], tip, edge.resample, color, width, order))


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width in picture units of a text of ``size`` points."""
    drawn, names = families(shown(text))
    font = FontProperties(family=names, weight=weight, size=size)
    points, _, _ = text_to_path.get_text_width_height_descent(drawn, font, False)
    return float(points) / (72 * INCH)


def draw_text(axes: Axes, position: Point, text: str, *, size: float, **style: str) -> None:
    """Write a text literally (no TeX, no mathematics), as ``names.shown`` shows it.

    Args:
        position: by default the left end of the text, at half its height.
        size: in points.
        style: further options of matplotlib's ``Axes.text``.
    """
    options: dict[str, Any] = {"ha": "left", "va": "center_baseline", "color": INK, **style}
    drawn, names = families(shown(text))
    axes.text(
        *position,
        drawn,
        family=names,
        fontsize=size,
        usetex=False,
        parse_math=False,
        zorder=7,
        **options,
    )


def _make_polygon(shape: Shape, centre: Point, **style: Any) -> Patch:
    if not shape.sides:
        return Circle(centre, shape.radius, **style)
    angles = [shape.turn + 2 * math.pi * k / shape.sides for k in range(shape.sides)]
    x, y, radius = *centre, shape.radius
    corners = [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
    return Polygon(corners, closed=True, joinstyle="miter", **style)


def _make_tip(
    base: Point, tip: Point, resample: str, color: str, width: float, order: float
) -> Patch:
    angle = math.atan2(tip[1] - base[1], tip[0] - base[0])
    dx, dy = -0.38 * TIP * math.sin(angle), 0.38 * TIP * math.cos(angle)
    closed = resample != "same"
    return Polygon(
        [(base[0] + dx, base[1] + dy), tip, (base[0] - dx, base[1] - dy)],
        closed=closed,
        fill=closed,
        facecolor=color if resample == "down" else "white",
        edgecolor=color,
        linewidth=width,
        joinstyle="miter",
        zorder=order + 0.01,
    )


def _draw_plus(axes: Axes, centre: Point, color: str) -> None:
    x, y = centre
    arm = 0.55 * SHAPES["sum"].radius
    ends = [(x - arm, y), (x + arm, y), (x, y - arm), (x, y + arm)]
    path = Path(ends, [Path.MOVETO, Path.LINETO] * 2)
    axes.add_patch(PathPatch(path, edgecolor=color, fill=False, linewidth=1.2, zorder=6))


def _draw_sign(axes: Axes, centre: Point, sign: str, color: str) -> None:
    # Drawn as an outline, so that the only texts on the axes are labels.
    font = FontProperties(family=FAMILY, weight="bold")
    path = TextPath((0, 0), sign, size=0.26, prop=font)
    box = path.get_extents()
    move = Affine2D().translate(
        centre[0] - (box.x0 + box.x1) / 2, centre[1] - (box.y0 + box.y1) / 2
    )
    axes.add_patch(PathPatch(path.transformed(move), color=color, linewidth=0, zorder=6))
