"""Pictures as figures and as files: nothing overlaps, and bytes are reproducible."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from search_space.drawing.pictures import draw_difference, draw_gallery, draw_genome
from search_space.genome import Genome, MergingCell
from search_space.space import NASFPNSpace

RandomGenome = Callable[[np.random.Generator], Genome]

PUBLISHED = Genome(
    (
        MergingCell(4, "attention", (1, 3)),
        MergingCell(4, "sum", (1, 5)),
        MergingCell(3, "sum", (0, 6)),
        MergingCell(4, "sum", (6, 7)),
        MergingCell(5, "attention", (7, 8)),
        MergingCell(7, "attention", (6, 9)),
        MergingCell(6, "attention", (9, 10)),
    )
)
PICTURE = """
import sys
from search_space.drawing.pictures import draw_difference
from search_space.genome import Genome, MergingCell
a = Genome((MergingCell(3, "attention", (0, 1)), MergingCell(4, "sum", (1, 2))), (3, 4))
b = Genome((MergingCell(4, "weighted", (0, 1)), MergingCell(3, "identity", (2,))), (3, 4))
draw_difference(a, b, sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
"""


def marks(figure: Figure) -> np.ndarray:
    """Return points on all lines of nodes, edges and tips: in pixels, at most one pixel apart."""
    points = []
    for patch in figure.axes[0].patches:
        if patch.get_zorder() == 0:
            continue  # the bands in the background
        path = patch.get_transform().transform_path(patch.get_path())
        for line in path.to_polygons(closed_only=False):
            lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
            offsets = np.linspace(0.0, lengths[-1], int(lengths[-1]) + 2)
            points.append(np.stack([np.interp(offsets, lengths, line[:, k]) for k in (0, 1)], -1))
    return np.concatenate(points)


def labels(figure: Figure) -> dict[str, Bbox]:
    """Return the box of each text in pixels, as the renderer places it."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = figure.axes[0].texts
    return {f"{i} {t.get_text()}": t.get_window_extent(renderer) for i, t in enumerate(texts)}


def check(figure: Figure) -> None:
    """Check that labels touch neither each other nor any line, and that all is on the page."""
    boxes, points = labels(figure), marks(figure)
    page = figure.bbox
    for (name, box), (other, box_2) in combinations(boxes.items(), 2):
        assert not box.overlaps(box_2), (name, other)
    for name, box in boxes.items():
        assert page.x0 <= box.x0 <= box.x1 <= page.x1, name
        assert page.y0 <= box.y0 <= box.y1 <= page.y1, name
        inside = (points > box.min).all(1) & (points < box.max).all(1)
        assert not inside.any(), (name, points[inside][0])
    assert (points >= page.min).all()
    assert (points <= page.max).all()


@pytest.mark.slow
def test_no_label_touches_anything(random_genome: RandomGenome) -> None:
    rng = np.random.default_rng(0)
    check(draw_genome(PUBLISHED, title="A pyramid whose title is much wider than its columns are"))
    long = NASFPNSpace((3, 4, 5, 6), 11, (4, 5, 6))
    for genome in (*(random_genome(rng) for _ in range(8)), long.sample(rng)):
        check(draw_genome(genome))
    mixed = {f"number {n}, with a name": random_genome(rng) for n in range(5)}
    check(draw_gallery(mixed))
    a, b = long.sample(rng), PUBLISHED
    check(draw_difference(a, b, names=("a rather long name of the first", "another one, as long")))


def test_outputs_are_labelled_on_the_right_and_every_cell_has_its_number() -> None:
    texts = [t.get_text() for t in draw_genome(PUBLISHED).axes[0].texts]
    for level in ("P3", "P4", "P5", "P6", "P7"):
        assert texts.count(level) == 2  # input on the left, output on the right
    assert [t for t in texts if t.isdigit()] == ["5", "6", "7", "8", "9", "10", "11"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_bytes_are_the_same_in_every_process(suffix: str, tmp_path: Path) -> None:
    pictures = []
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.{suffix}"
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        subprocess.run([sys.executable, "-c", PICTURE, path], check=True, env=environment)
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1]
    assert not any(word in pictures[0] for word in (b"<dc:date>", b"CreationDate", b"tIME"))


@pytest.mark.slow
def test_bytes_depend_neither_on_settings_nor_on_threads(tmp_path: Path) -> None:
    def draw(number: int) -> bytes:
        path = tmp_path / f"{number}.svg"
        draw_genome(PUBLISHED, path, title=r"no $\frac$ here: <a_b>")  # invalid TeX
        return path.read_bytes()

    alone = draw(0)
    settings = {
        "svg.hashsalt": "x",
        "svg.fonttype": "none",
        "savefig.bbox": "tight",
        "font.size": 30,
    }
    with matplotlib.rc_context(settings):
        assert draw(1) == alone
        assert matplotlib.rcParams["svg.hashsalt"] == "x"
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(draw, range(2, 8))) == {alone}


def test_the_suffix_decides_the_format(tmp_path: Path) -> None:
    for suffix, start in ((".PNG", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")):
        draw_genome(PUBLISHED, tmp_path / f"cell{suffix}")
        assert (tmp_path / f"cell{suffix}").read_bytes().startswith(start)


def test_an_unknown_suffix_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "cell.jpeg"
    for draw in (
        lambda: draw_genome(PUBLISHED, path),
        lambda: draw_difference(PUBLISHED, PUBLISHED, path),
        lambda: draw_gallery({"a": PUBLISHED}, path),
    ):
        with pytest.raises(ValueError, match=r"\.pdf, \.png, \.svg, got '\.jpeg' \(at .*cell"):
            draw()
    assert not path.exists()


def test_an_empty_gallery_is_refused() -> None:
    with pytest.raises(ValueError, match="one genome, got none"):
        draw_gallery({})


def test_only_what_differs_is_coloured() -> None:
    cells = (*PUBLISHED.cells[:6], MergingCell(6, "attention", (8, 10)))
    for other, expected in ((PUBLISHED, 0), (Genome(cells), 2)):
        figure = draw_difference(PUBLISHED, other)
        foot = min(box.y1 for name, box in labels(figure).items() if name.endswith("11"))
        coloured = [
            patch
            for patch in figure.axes[0].patches
            if patch.get_window_extent().y0 > foot  # above the legend
            and any(
                alpha and not red == green == blue
                for red, green, blue, alpha in (patch.get_edgecolor(), patch.get_facecolor())
            )
        ]
        # A changed input is one edge in each of the two panels: a line and a tip.
        assert len(coloured) == 2 * expected
