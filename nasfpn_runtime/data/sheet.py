"""A sheet of images with their boxes, to look at a dataset."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import search_space.plotting  # noqa: F401 - before matplotlib, see there

# isort: split
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.data.samples import Sample
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.files import atomic_write
from nasfpn_runtime.progress import say
from search_space.fonts import use_fonts
from search_space.names import shown

COLUMNS = 4
CELL = 3.0  # width of an image in inches
TITLE = 0.25  # height of its title in inches
DPI = 150
MOST = 100  # images; with more they are too small to see


def draw_sheet(split: Split, file: Path, count: int = 12) -> int:
    """Draw images that have boxes, evenly spread over the split; return how many.

    Each category has a colour; crowd regions are dashed. The suffix of the file decides its
    format.

    Raises:
        DataError: the count is out of range or an image cannot be read.
        ValueError: matplotlib does not know the format.
    """
    if not 1 <= count <= MOST:
        raise DataError(f"images of a sheet must be from 1 to {MOST}, got {count}")
    having = [sample for sample in split.samples if len(sample.boxes) + len(sample.crowd)]
    indices = np.linspace(0, len(having) - 1, min(count, len(having))).round().astype(int)
    chosen = [having[index] for index in indices]
    columns = min(COLUMNS, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    tallest = max(min(sample.height / sample.width, 2.0) for sample in chosen)
    size = (CELL * columns, (CELL * tallest + TITLE) * rows)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, sample in zip(axes, chosen, strict=False):
        _draw(axis, sample, split.categories)
    use_fonts(figure, say)
    with atomic_write(file) as draft:
        figure.savefig(draft)
    return len(chosen)


def _draw(axis: Any, sample: Sample, names: tuple[str, ...]) -> None:
    # Unlike imshow's default extent, coordinates of boxes are those of pixel edges, from 0.
    axis.imshow(sample.read(), extent=(0, sample.width, sample.height, 0))
    axis.set_title(shown(sample.path.name), fontsize=6, parse_math=False)
    palette = colormaps["tab10"]
    for box, label in zip(sample.boxes, sample.labels, strict=True):
        colour = palette(label % palette.N)
        _outline(axis, box, edgecolor=colour)
        axis.text(
            *box[:2],
            shown(names[label]),
            fontsize=4,
            parse_math=False,
            color="white",
            verticalalignment="bottom",
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.5},
        )
    for box in sample.crowd:
        _outline(axis, box, edgecolor="white", linestyle="--")


def _outline(axis: Any, box: Any, **style: Any) -> None:
    x1, y1, x2, y2 = box
    axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, linewidth=0.8, **style))
