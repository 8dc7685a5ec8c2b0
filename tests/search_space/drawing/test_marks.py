"""Nodes and edges as they are drawn."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color
from matplotlib.figure import Figure

from search_space.drawing.layout import PlacedEdge
from search_space.drawing.marks import INCH, draw_edge, draw_text, text_width
from search_space.fonts import BOX
from tiny_font import system_fonts, write_font


def test_the_width_of_a_text_is_that_of_its_fonts(tmp_path: Path) -> None:
    cat = "\u732b"
    font = write_font(tmp_path / "tiny.ttf", cat)  # as wide as high: 72 points are an inch
    with system_fonts(font):
        assert text_width(cat * 3, 72) == pytest.approx(3 / INCH, rel=0.02)
        figure = Figure(figsize=(6, 2), dpi=100)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 6 / INCH), ylim=(0, 2 / INCH))
        draw_text(axes, (0, 1 / INCH), cat * 3, size=72)
        (text,) = axes.texts
        FigureCanvasAgg(figure).draw()
        assert text.get_window_extent().width == pytest.approx(300, rel=0.05)
    with system_fonts():
        assert text_width(cat, 72) == text_width(BOX, 72)


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
