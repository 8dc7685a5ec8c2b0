"""Figures of searches show the values of the trials."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from controllers.figures import compare_searches, draw_final, draw_search
from controllers.study import DUPLICATE_OF
from search_space.fonts import BOX
from searches import placing
from tiny_font import system_fonts, write_font

CAT = "\u732b"


def trials() -> list[FrozenTrial]:
    duplicate = {DUPLICATE_OF: 0}
    made = [
        create_trial(value=0.2),
        create_trial(state=TrialState.FAIL),
        create_trial(value=0.1),
        create_trial(value=0.2, user_attrs=duplicate),
        create_trial(value=0.4),
        create_trial(state=TrialState.RUNNING),
    ]
    for number, trial in enumerate(made):
        trial.number = number
    return made


def test_points_are_the_trained_genomes_and_the_line_is_their_running_maximum() -> None:
    (axes,) = draw_search(trials()).axes
    points, best = axes.lines
    assert list(points.get_xdata()) == list(best.get_xdata()) == [1, 2, 3]
    assert list(points.get_ydata()) == [0.2, 0.1, 0.4]
    assert list(best.get_ydata()) == [0.2, 0.2, 0.4]


def test_values_of_a_rung_are_drawn_and_compared_with_those_of_the_same_rung_only() -> None:
    pruned = [[0.5], [0.3, 0.2], [0.6, 0.1, 0.05], [0.7], [0.4, 0.3]]
    made = [
        create_trial(
            state=TrialState.PRUNED,
            value=values[-1],
            intermediate_values={3**number: value for number, value in enumerate(values)},
        )
        for values in pruned
    ]
    for number, trial in enumerate(made):
        trial.number = number
    (axes,) = draw_search(made, rungs=["a", "b", "c"]).axes
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    assert drawn[0::2] == [
        ([1, 2, 3, 4, 5], [0.5, 0.3, 0.6, 0.7, 0.4]),
        ([2, 3, 5], [0.2, 0.1, 0.3]),
        ([3], [0.05]),
    ]
    assert drawn[1::2] == [
        ([1, 2, 3, 4, 5], [0.5, 0.5, 0.6, 0.7, 0.7]),
        ([2, 3, 5], [0.2, 0.2, 0.3]),
        ([3], [0.05]),
    ]
    points, best = axes.lines[0::2], axes.lines[1::2]
    assert len({line.get_marker() for line in points}) == 3
    assert len({line.get_color() for line in best}) == 3
    assert len({str(line.get_linestyle()) for line in best}) == 3
    assert [line.get_label() for line in best] == ["a: 5 trained", "b: 3 trained", "c: 1 trained"]


def test_the_axes_have_whole_genomes_and_start_at_zero() -> None:
    for figure in (draw_search(trials()), compare_searches({"ppo": trials()})):
        (axes,) = figure.axes
        assert axes.get_ylim()[0] == 0
        assert all(tick == round(tick) for tick in axes.get_xticks())
    (axes,) = draw_search([create_trial(value=-0.5)]).axes
    assert axes.get_ylim()[0] < -0.5


def test_searches_differ_in_colour_and_in_dash() -> None:
    (axes,) = compare_searches({"ppo": trials(), "random": trials()[:3]}).axes
    first, second = (line for line in axes.lines if not line.get_label().startswith("_"))
    assert (first.get_label(), second.get_label()) == ("ppo", "random")
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() != second.get_linestyle()
    assert list(second.get_ydata()) == [0.2, 0.2]


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_the_file_is_written_even_before_the_first_result(tmp_path: Path, suffix: str) -> None:
    draw_search([], tmp_path / f"a.{suffix}")
    compare_searches({"ppo": []}, tmp_path / f"b.{suffix}")
    assert {path.stat().st_size > 0 for path in tmp_path.iterdir()} == {True}


def test_names_are_no_formulas_and_have_no_control_characters(tmp_path: Path) -> None:
    names = ["$\\frac{1$", "a\nb\x1b[31m", "x" * 1000]
    figure = compare_searches(
        dict.fromkeys(names, trials()), tmp_path / "a.svg", metric="$\\frac{1$"
    )
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[:2] == ["$\\frac{1$", "a\\nb\\x1b[31m"]
    assert len(texts[2]) < 100


@pytest.mark.parametrize("installed", [False, True])
def test_names_of_any_characters_are_drawn(tmp_path: Path, installed: bool) -> None:
    font, name = write_font(tmp_path / "tiny.ttf", CAT), f"{CAT}_$x"
    with system_fonts(*[font] * installed), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = compare_searches({name: trials()}, tmp_path / "a.svg", metric=name)
    (axes,) = figure.axes
    expected = name if installed else name.replace(CAT, BOX)
    (text,) = axes.get_legend().get_texts()
    assert text.get_text() == axes.get_ylabel() == expected


def test_the_same_search_makes_the_same_svg(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_search(trials(), tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_final_has_a_row_for_each_contender_with_its_values(tmp_path: Path) -> None:
    """Means of 1, 2, 3 and of 3, 4, 5; half widths 4.303 / sqrt(3) (t with 2 degrees)."""
    values: dict[str, list[float | None]] = {
        "$a\n": [1.0, 2.0, 3.0],
        "b": [3.0, 5.0, 4.0],
        "bad": [None],
    }
    figure = draw_final(placing(values, ("$a\n",)), tmp_path / "a.svg", metric="AP")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "$a\\n"]
    means = [c.lines[0].get_xdata()[0] for c in axes.containers]
    assert means == [4.0, 2.0]
    for row, (container, mean) in enumerate(zip(axes.containers, means, strict=True)):
        ((low, high),) = container.lines[2][0].get_segments()
        assert (low[1], high[1]) == (row, row)
        assert (high[0] - mean, mean - low[0]) == pytest.approx([4.3027 / 3**0.5] * 2, rel=1e-4)
    points = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert [list(line.get_xdata()) for line in points] == [[3.0, 5.0, 4.0], [1.0, 2.0, 3.0]]
    draw_final(placing(values, ("$a\n",)), tmp_path / "b.svg", metric="AP")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_unknown_suffix() -> None:
    with pytest.raises(ValueError, match=r"\.png, \.svg or \.pdf file, got 'a\.gif'"):
        draw_search(trials(), "a.gif")
