"""Figures of searches: all values, the best so far, and several searches in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, cycle
from pathlib import Path
from typing import Any

import search_space.plotting  # noqa: F401 - before matplotlib, see there

# isort: split
import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from controllers.ladder import climbed
from controllers.placing import Placing
from controllers.study import DUPLICATE_OF
from nasfpn_runtime.progress import say
from search_space.errors import PictureError
from search_space.files import atomic_write
from search_space.fonts import use_fonts
from search_space.names import shown

# Okabe and Ito's colours, which colour-blind people can tell apart, from dark to light.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_SHAPES = ("o", "s", "^", "D", "v", "P", "X")
_METADATA: dict[str, dict[str, Any]] = {
    # Without a date, so that the same search gives the same file.
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
    ".png": {},
}


def draw_search(
    trials: Sequence[FrozenTrial],
    path: str | Path | None = None,
    *,
    metric: str = "AP",
    rungs: Sequence[str] = (),
) -> Figure:
    """Draw the value of each trained genome and the best value so far.

    With a ladder, these are drawn for each rung: a genome has a point for each rung that it was
    trained on, and values are compared with those of the same rung.

    Args:
        trials: trials of one study that maximises. Trials without a value and duplicates are
            left out.
        path: file to write; its suffix selects PNG, SVG or PDF. None writes no file.
        metric: name of the value, for the axis.
        rungs: names of the rungs of a ladder, the lowest first.

    Raises:
        PictureError: the path has another suffix.
    """
    figure, axes = _new_figure(metric)
    drawn = _trained(trials)
    values = [trial.value for trial in drawn if trial.value is not None]
    if rungs:
        _draw_rungs(axes, [climbed(trial) for trial in drawn], rungs)
    else:
        numbers = range(1, len(values) + 1)
        axes.plot(numbers, values, "o", ms=4, color=_COLOURS[5], mec=_COLOURS[0], label="genome")
        best = _best_so_far(values)
        axes.step(numbers, best, where="post", color=_COLOURS[1], label="best so far")
        axes.legend(frameon=False)
    _start_at_zero(axes, [*values, *(value for trial in drawn for value in climbed(trial))])
    return _save(figure, path)


def compare_searches(
    searches: Mapping[str, Sequence[FrozenTrial]],
    path: str | Path | None = None,
    *,
    metric: str = "AP",
) -> Figure:
    """Draw the values and the best value so far of several searches into one figure.

    Args:
        searches: trials by the name of the search (see :func:`draw_search`).
        path: file to write; its suffix selects PNG, SVG or PDF. None writes no file.
        metric: name of the value, for the axis.

    Raises:
        PictureError: the path has another suffix.
    """
    figure, axes = _new_figure(metric)
    drawn: list[float] = []
    for (name, trials), colour, dash in zip(
        searches.items(), cycle(_COLOURS), cycle(_DASHES), strict=False
    ):
        values = _values(trials)
        drawn += values
        numbers = range(1, len(values) + 1)
        axes.plot(numbers, values, "o", ms=3, color=colour, alpha=0.35, mew=0)
        axes.step(
            numbers, _best_so_far(values), where="post", color=colour, ls=dash, label=shown(name)
        )
    if searches:
        for text in axes.legend(frameon=False, title="best so far").get_texts():
            text.set_parse_math(False)
    _start_at_zero(axes, drawn)
    return _save(figure, path)


def draw_race(
    curves: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    path: str | Path | None = None,
) -> Figure:
    """Draw the curves of a race: a panel for each reward, a line and its interval for each name.

    Args:
        curves: by the title of the panel and the name of the controller: after each trial, the
            mean true value of the genome picked, and half the width of its interval.
        path: file to write; its suffix selects PNG, SVG or PDF. None writes no file.

    Raises:
        PictureError: the path has another suffix.
    """
    figure = Figure(figsize=(6.4, 3.8 * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), squeeze=False)[:, 0]
    for axes, (title, lines) in zip(panels, curves.items(), strict=True):
        _label(axes, "true value of the best genome")
        axes.set_title(title)
        for (name, (means, halves)), colour, dash in zip(
            lines.items(), cycle(_COLOURS), cycle(_DASHES), strict=False
        ):
            trials = range(1, len(means) + 1)
            pairs = list(zip(means, halves, strict=True))
            low, high = [m - h for m, h in pairs], [m + h for m, h in pairs]
            axes.fill_between(trials, low, high, color=colour, alpha=0.12, lw=0)
            axes.plot(trials, means, color=colour, ls=dash, label=name)
        axes.legend(frameon=False)
    return _save(figure, path)


def draw_final(placing: Placing, path: str | Path | None = None, *, metric: str = "AP") -> Figure:
    """Draw the mean of each contender of a final, with its interval and the single values.

    Args:
        placing: the result of the final; contenders that have failed are left out.
        path: file to write; its suffix selects PNG, SVG or PDF. None writes no file.
        metric: name of the value, for the axis.

    Raises:
        PictureError: the path has another suffix.
    """
    drawn = [place for place in placing.places if place.score is not None]
    figure = Figure(figsize=(6.4, 1.2 + 0.35 * len(drawn)), layout="constrained")
    axes = figure.add_subplot()
    for row, place in enumerate(drawn):
        assert place.score is not None
        colour = _COLOURS[1] if place.contender.start else _COLOURS[0]
        axes.plot(place.values, [row] * place.rounds, "o", ms=3, color=colour, alpha=0.35, mew=0)
        axes.errorbar(
            place.score.mean, row, xerr=place.score.half, fmt="o", ms=5, capsize=3, color=colour
        )
    names = [shown(place.contender.name) for place in drawn]
    axes.set_yticks(range(len(drawn)), names, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel(f"{shown(metric)}, mean and 95% interval", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="0.9", lw=0.8)
    axes.set_axisbelow(True)
    return _save(figure, path)


def _draw_rungs(axes: Axes, values: Sequence[Sequence[float]], rungs: Sequence[str]) -> None:
    """Draw the values of genomes on the rungs of a ladder, each rung in a colour and a shape."""
    for number, (name, colour, shape, dash) in enumerate(
        zip(rungs, cycle(_COLOURS), cycle(_SHAPES), cycle(_DASHES), strict=False)
    ):
        here = {i: given[number] for i, given in enumerate(values, start=1) if len(given) > number}
        axes.plot(list(here), list(here.values()), shape, ms=4, color=colour, alpha=0.5, mew=0)
        best = _best_so_far(list(here.values()))
        label = f"{shown(name)}: {len(here)} trained"
        axes.step(list(here), best, where="post", color=colour, ls=dash, label=label)
    for text in axes.legend(frameon=False, title="best so far on rung").get_texts():
        text.set_parse_math(False)


def _trained(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [
        trial
        for trial in sorted(trials, key=lambda trial: trial.number)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        and trial.value is not None
        and DUPLICATE_OF not in trial.user_attrs
    ]


def _values(trials: Sequence[FrozenTrial]) -> list[float]:
    return [trial.value for trial in _trained(trials) if trial.value is not None]


def _best_so_far(values: Sequence[float]) -> list[float]:
    return list(accumulate(values, max))


def _start_at_zero(axes: Axes, values: Sequence[float]) -> None:
    """Let the value axis start at 0, unless a value is negative."""
    if values and min(values) >= 0:
        axes.set_ylim(bottom=0)


def _new_figure(metric: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    _label(axes, metric)
    return figure, axes


def _label(axes: Axes, metric: str) -> None:
    axes.set(xlabel="genomes trained")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(shown(metric), parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", lw=0.8)
    axes.set_axisbelow(True)


def _save(figure: Figure, path: str | Path | None) -> Figure:
    use_fonts(figure, say)
    if path is not None:
        suffix = Path(path).suffix.lower()
        if suffix not in _METADATA:
            raise PictureError(f"a figure must be a .png, .svg or .pdf file, got {str(path)!r}")
        # Without a salt, the ids in an SVG are random.
        with (
            matplotlib.rc_context({"svg.hashsalt": "nasfpn"}),
            atomic_write(Path(path)) as draft,
        ):
            figure.savefig(draft, metadata=_METADATA[suffix], dpi=150)
    return figure
