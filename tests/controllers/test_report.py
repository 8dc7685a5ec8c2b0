"""The report of a search: figures and lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from optuna.trial import TrialState

from controllers import create_sampler
from controllers.contest import Rules
from controllers.journal import IDENTITY
from controllers.ladder import climbed
from controllers.report import doubt, final_lines, sentence, write_report
from controllers.study import DUPLICATE_OF
from search_space import Cost, load_genome
from searches import new_study, opened, placing, run
from synthetic import SPACE


def test_figures_are_drawn_and_lines_name_value_genome_and_files(tmp_path: Path) -> None:
    study = run(tmp_path, "random", 3)
    lines = write_report(study, tmp_path)
    figures = tmp_path / "figures"
    assert {path.name for path in figures.iterdir()} == {"best.svg", "search.svg"}
    assert lines[0].split() == [
        "best",
        "value",
        f"{study.best_value:.4f}",
        "(trial",
        f"{study.best_trial.number})",
    ]
    cells = load_genome(tmp_path / "best.json").cells
    for node, (line, cell) in enumerate(zip(lines[1:], cells, strict=False), len(SPACE.levels)):
        inputs = [f"{number}," for number in cell.inputs[:-1]] + [str(cell.inputs[-1])]
        assert line.split() == [str(node), str(cell.level), cell.op, *inputs]
    assert [line.split() for line in lines[1 + len(cells) :]] == [
        ["genome", str(tmp_path / "best.json")],
        ["score", "curve", str(figures / "search.svg")],
        ["drawing", str(figures / "best.svg")],
    ]


def test_on_a_ladder_the_line_names_the_rung_and_the_first_rung_is_doubted(tmp_path: Path) -> None:
    study = run(tmp_path, "random", 4, rungs={"short": {"add": 50}, "long": {}})
    best = max((len(climbed(t)), t.value, t.number) for t in study.trials)
    assert best[0] == 2
    (line, *_) = write_report(study, tmp_path)
    assert line.endswith(f"{best[1]:.4f} (trial {best[2]}, rung long)")
    assert doubt(study) is None
    levelled = new_study(create_sampler("random", SPACE, 0))
    levelled.set_user_attr(IDENTITY, {"ladder": {"rungs": ["short", "long"]}})
    for reports in ((0.0, 0.3), (0.0, 0.4), (0.0,)):
        trial = levelled.ask()
        for step, value in enumerate(reports, start=1):
            trial.report(value, step)
        levelled.tell(trial, state=TrialState.PRUNED)
    assert re.search("all values on rung short are 0:", str(doubt(levelled)))


@pytest.mark.parametrize(
    ("values", "doubted"),
    [
        ([], False),
        ([0.0], True),
        ([0.3], False),
        ([0.0, 0.0], True),
        ([0.3, 0.3, 0.3], True),
        ([0.0, 0.1], False),
    ],
)
def test_values_that_are_all_equal_are_doubted(values: list[float], doubted: bool) -> None:
    study = new_study(create_sampler("random", SPACE, 0))
    for value in values:
        study.tell(study.ask(), value)
    study.tell(study.ask(), state=TrialState.FAIL)
    twin = study.ask()
    twin.set_user_attr(DUPLICATE_OF, 0)
    study.tell(twin, 0.0)  # is not counted
    line = doubt(study)
    assert (line is not None) == doubted
    assert line is None or f"{values[0]:g}" in line


def test_without_a_trained_genome_there_is_no_report(tmp_path: Path) -> None:
    assert write_report(opened(tmp_path), tmp_path) == ()
    assert not (tmp_path / "figures").exists()


EQUAL: list[float | None] = [0.50, 0.52, 0.51]
BETTER: list[float | None] = [0.60, 0.63, 0.61]  # by 0.10, 0.11 and 0.10
WORSE: list[float | None] = [0.40, 0.43, 0.41]


@pytest.mark.parametrize(
    ("values", "starts", "said"),
    [
        ({"s": EQUAL, "a": BETTER}, ("s",), "The winner, a, is ahead of the starting points: "),
        (
            {"s": EQUAL, "t": WORSE, "a": BETTER},
            ("s", "t"),
            "The winner, a, is ahead of the starting points: ",
        ),
        (
            {"s": EQUAL, "a": [0.51, 0.52, 0.53]},
            ("s",),
            "The winner, a, is not distinguishable from the starting points: ",
        ),
        (
            # One of the starting points is clearly worse, and the other is not.
            {"s": EQUAL, "t": WORSE, "a": [0.51, 0.52, 0.53]},
            ("s", "t"),
            "The winner, a, is not distinguishable from the starting points: ",
        ),
        ({"s": BETTER, "a": EQUAL}, ("s",), "The winner is s, a starting point: "),
        ({"a": BETTER, "b": EQUAL}, (), "The winner is a; there is no starting point"),
        ({"s": [None], "a": BETTER}, ("s",), "The winner is a; there is no starting point"),
    ],
)
def test_a_sentence_says_whether_the_winner_is_ahead(
    values: dict[str, list[float | None]], starts: tuple[str, ...], said: str
) -> None:
    result = placing(values, starts, Rules(seeds=3))
    assert sentence(result).startswith(said)
    assert result.ahead == ("is ahead of the starting points" in said)


def test_the_difference_that_is_printed_is_the_one_that_decides() -> None:
    """Differences 0.10, 0.11, 0.10: mean 0.1033, standard error 0.0033, and t is 2.92."""
    text = sentence(placing({"s": EQUAL, "a": BETTER}, ("s",), Rules(seeds=3)))
    low, high = map(float, re.findall(r"\((\S+) to (\S+)\)", text)[0])
    assert (low, high) == (0.094, 0.113)
    assert "the best of them, s, is +0.103 (" in text
    level = sentence(placing({"s": EQUAL, "a": [0.51, 0.52, 0.53]}, ("s",), Rules(seeds=3)))
    low, high = map(float, re.findall(r"\((\S+) to (\S+)\)", level)[0])
    assert low < 0 < high
    assert level.endswith("Not distinguishable from it: s.")


def test_the_table_has_a_row_for_each_contender() -> None:
    """Mean of 0.50, 0.52, 0.51; t with 2 degrees is 4.303, the standard error 0.01 / sqrt(3)."""
    result = placing(
        {"s": EQUAL, "a\x1b": BETTER, "t": WORSE, "bad": [None]}, ("s",), Rules(seeds=3)
    )
    costs = {place.contender.identity: Cost(40_000, 2_500_000, 0) for place in result.places}
    head, *rows, _, _ = final_lines(result, costs)
    cells = {row[0]: row[1:] for row in (re.split(r" {2,}", line) for line in rows)}
    assert re.split(r" {2,}", head)[4] == "difference from s"
    assert list(cells) == ["a\\x1b", "s", "t", "bad"]
    assert cells["s"] == ["0.500", "3", "0.510 ± 0.025", "baseline", "2.5 M", "0.04 M"]
    assert cells["t"][1] == "3 left"
    assert cells["bad"][1:4] == ["0 failed", "-", "-"]
    assert len({line.index("2.5 M") for line in rows}) == 1
