"""Plot a training run: loss, AP and learning rate over the epochs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import search_space.plotting  # noqa: F401 - before matplotlib, see there

# isort: split
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from nasfpn_runtime.files import atomic_write

COLOURS = ("#0072b2", "#d55e00", "#555555")  # Okabe and Ito's blue and vermilion, and grey
TICK_STEPS = (1, 2, 5, 10)  # distances between ticks, times a power of ten


def draw_curves(metrics: Path, picture: Path) -> None:
    """Plot a run's ``metrics.jsonl`` and write the figure to ``picture`` atomically.

    Args:
        picture: path of the figure; its suffix is the format, such as ``.svg``.
    """
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    scored = [line for line in lines if "AP" in line]
    epochs = [line["epoch"] for line in lines]
    figure = Figure(figsize=(6, 5), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    losses = [math.nan if line["loss"] is None else line["loss"] for line in lines]
    top.plot(epochs, losses, color=COLOURS[0])
    top.set(ylabel="training loss", yscale="log")
    finite = [loss for loss in losses if math.isfinite(loss)] or [1.0]
    one_decade = max(finite) <= 10 * min(finite)
    ticks = MaxNLocator(5, steps=TICK_STEPS) if one_decade else LogLocator(subs=(1, 2, 5))
    top.yaxis.set_major_locator(ticks)
    top.yaxis.set_major_formatter("{x:g}")
    top.yaxis.set_minor_formatter("")
    for name, style in (("AP", "o-"), ("AP50", "s--")):
        middle.plot(
            [line["epoch"] for line in scored],
            [line[name] for line in scored],
            style,
            color=COLOURS[1],
            markersize=3,
            label=name,
        )
    middle.set(ylabel="validation", ylim=(0, 1))
    middle.legend(frameon=False, loc="upper left")
    bottom.plot(epochs, [line["lr"] for line in lines], color=COLOURS[2])
    bottom.set(ylabel="learning\nrate", xlabel="epoch")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True, steps=TICK_STEPS))
    for axes in (top, middle, bottom):
        axes.spines[["top", "right"]].set_visible(False)
    picture.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(picture) as draft:
        figure.savefig(draft, format=picture.suffix[1:])
