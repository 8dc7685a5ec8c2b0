"""The report of a search: figures and lines."""

from __future__ import annotations

from pathlib import Path

from controllers.report import write_report
from search_space import load_genome
from searches import opened, run


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
    for line, cell in zip(lines[1:], cells, strict=False):
        inputs = [f"{node}," for node in cell.inputs[:-1]] + [str(cell.inputs[-1])]
        assert line.split() == [str(cell.level), cell.op, *inputs]
    assert [line.split() for line in lines[1 + len(cells) :]] == [
        ["genome", str(tmp_path / "best.json")],
        ["search", str(figures / "search.svg")],
        ["picture", str(figures / "best.svg")],
    ]


def test_without_a_trained_genome_there_is_no_report(tmp_path: Path) -> None:
    assert write_report(opened(tmp_path), tmp_path) == ()
    assert not (tmp_path / "figures").exists()
