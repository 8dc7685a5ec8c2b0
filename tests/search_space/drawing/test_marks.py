"""Nodes and edges as they are drawn."""

from __future__ import annotations

from itertools import product

from matplotlib.colors import same_color
from matplotlib.figure import Figure

from search_space.drawing.layout import PlacedEdge
from search_space.drawing.marks import draw_edge


def test_kinds_of_edges_differ_without_colours() -> None:
    seen = set()
    for role, resample in product(("term", "gate", "leftover"), ("same", "up", "down")):
        axes = Figure().add_axes((0, 0, 1, 1))
        curve = ((0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (3.0, 0.0))
        draw_edge(axes, PlacedEdge(0, 1, role, resample, curve, (3.2, 0.0)), (0, 0))
        seen.add(
            tuple(
                (
                    p.get_linestyle(),
                    p.get_linewidth(),
                    p.get_fill(),
                    same_color(p.get_facecolor(), "white"),
                )
                for p in axes.patches
            )
        )
    assert len(seen) == 9
