"""The report of a search: figures and lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.trial import TrialState

from controllers import create_sampler
from controllers.report import doubt, write_report
from controllers.study import DUPLICATE_OF
from search_space import load_genome
from searches import new_study, opened, run
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
