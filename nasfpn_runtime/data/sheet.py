"""A sheet of pictures with their boxes, to look at a data set."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.data.mindrecord import source
from nasfpn_runtime.data.samples import Sample
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.image import read_image

COLUMNS = 4
CELL = 3.0  # inches of a picture's width
TITLE = 0.25  # inches of its name
DPI = 150
MOST = 100  # pictures; a sheet of more cannot be looked at


def draw_sheet(split: Split, file: Path, count: int = 12) -> int:
    """Draw pictures that have boxes, evenly spread over the split; return how many.

    A colour is a category; crowd regions are dashed. The file's suffix is its format.

    Raises:
        DataError: the count is out of range or a picture cannot be read.
        ValueError: the format is not one of matplotlib's.
    """
    if not 1 <= count <= MOST:
        raise DataError(f"a sheet has 1 to {MOST} pictures, got {count}")
    having = [sample for sample in split.samples if len(sample.boxes) + len(sample.crowd)]
    places = np.linspace(0, len(having) - 1, min(count, len(having))).round().astype(int)
    chosen = [having[place] for place in places]
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
    figure.savefig(file)
    return len(chosen)


def _draw(axis: Any, sample: Sample, names: tuple[str, ...]) -> None:
    # Not imshow's default extent: a box's coordinates are of pixel edges, from 0.
    axis.imshow(read_image(source(sample.path)), extent=(0, sample.width, sample.height, 0))
    axis.set_title(sample.path.name, fontsize=6)
    palette = colormaps["tab10"]
    for box, label in zip(sample.boxes, sample.labels, strict=True):
        colour = palette(label % palette.N)
        _outline(axis, box, edgecolor=colour)
        axis.text(
            *box[:2],
            names[label],
            fontsize=4,
            color="white",
            verticalalignment="bottom",
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.5},
        )
    for box in sample.crowd:
        _outline(axis, box, edgecolor="white", linestyle="--")


def _outline(axis: Any, box: Any, **style: Any) -> None:
    x1, y1, x2, y2 = box
    axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, linewidth=0.8, **style))
