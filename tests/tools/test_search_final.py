"""``nasfpn search``: starting points and the final, with stubs in place of the trainings."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from controllers import worker
from controllers.final import FinalSettings
from controllers.search import SearchSettings
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.recipe.recipe import load_recipe
from search_space import Level, detector_cost, genome_id, load_genome, save_genome
from searched_archs import load
from searches import GENOMES
from tools import warm
from tools.cli import main, make_parser
from tools.genomes import load_named
from tools.search import run_search
from tools.search_final import plan_final


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "data"
    write_shapes(folder, train=2, val=1, test=1, size=64)
    return folder


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Score genomes by a stub; return the arguments of each training."""
    made: list[dict[str, Any]] = []
    original = worker.ProxyWorker.evaluate

    def evaluate(self: Any, job: Any, *more: Any) -> Any:
        made.append({**job.arguments})
        return original(self, job, *more)

    monkeypatch.setattr(worker.ProxyWorker, "evaluate", evaluate)
    for module, settings in (("search", SearchSettings), ("final", FinalSettings)):
        stub = partial(settings, evaluate="synthetic:scored")
        monkeypatch.setattr(f"controllers.{module}.{settings.__name__}", stub)
    return made


def command(data: Path, out: Path, *options: str) -> list[str]:
    """Return a search by random in the space of ``synthetic.SPACE``."""
    folders = ["--data", str(data), "--out", str(out)]
    search = ["--recipe", "shapes-proxy", "--controller", "random"]
    return ["search", *folders, *search, "--levels", "3-5", "--intermediate-cells", "1", *options]


@pytest.fixture
def mine(tmp_path: Path) -> str:
    save_genome(GENOMES["one"], tmp_path / "mine.json")
    return str(tmp_path / "mine.json")


def rows(printed: str) -> dict[str, list[str]]:
    """Return the cells of the table of contenders, by the first of them."""
    lines = printed.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("contender "))
    table = [re.split(r" {2,}", line) for line in lines[first : lines.index("", first)]]
    return {name: cells for name, *cells in table}


@pytest.mark.slow
def test_a_search_with_a_final_prints_a_table_and_a_sentence(
    shapes: Path,
    tmp_path: Path,
    mine: str,
    jobs: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    argv = command(shapes, out, "--trials", "5", "--start", mine, "--final", "2")
    argv += ["--final-recipe", "shapes", "--final-set", "training.epochs=16", "--seed", "3"]
    assert main(argv) == 0
    printed = capsys.readouterr()
    assert [job["seed"] for job in jobs[:5]] == [3] * 5
    assert genome_id(load_genome(out / "trials" / "0" / "genome.json")) == genome_id(GENOMES["one"])
    table = rows(printed.out)
    contenders = len(table) - 1
    assert "mine" in table
    assert table["contender"][3] == "difference from mine"
    assert table["mine"][3] == "baseline"
    # The cost was said before: from 3 to 8 rounds, at twice the time of 8 epochs.
    line = next(line for line in printed.err.splitlines() if line.startswith("final: "))
    assert f"{contenders} contenders, of them starting points: 1; recipe shapes;" in line
    assert f"trainings: {3 * contenders} to {8 * contenders}; about 0:" in line
    final = jobs[5:]
    assert 3 * contenders <= len(final) <= 8 * contenders
    assert {job["seed"] for job in final} <= set(range(4, 12))
    assert {job["recipe"]["training"]["epochs"] for job in final} == {16}
    recipe = load_recipe("shapes")
    for cells in table.values():
        if cells != table["contender"]:
            assert len(cells) == 6
    cost = detector_cost(GENOMES["one"], recipe.shape(3, (3, 4, 5)))
    assert table["mine"][4:] == [f"{cost.macs / 1e6:.1f} M", f"{cost.parameters / 1e6:.2f} M"]
    winner = list(table)[1]
    assert re.search(rf"^The winner(, {winner},| is {winner}, a starting)", printed.out, re.M)
    assert (out / "figures" / "final.svg").exists()
    assert str(out / "figures" / "final.svg") in printed.out
    name, genome = load_named(str(out / "best.json"))
    assert (name, genome_id(genome)[:8]) == ("best", _folder_of(out, winner))
    before = (out / "best.json").read_bytes()
    assert main(argv) == 0
    again = capsys.readouterr()
    assert len(jobs) == 5 + len(final)
    assert rows(again.out) == table
    assert "nothing is left to train" in again.err
    assert (out / "best.json").read_bytes() == before


def _folder_of(out: Path, name: str) -> str:
    (folder,) = out.glob(f"final/*/{name.replace(' ', '-')}-*")
    return folder.name.rpartition("-")[2]


@pytest.mark.slow
def test_the_published_cell_is_the_starting_point_where_the_space_has_it(
    shapes: Path, tmp_path: Path, jobs: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["search", "--data", str(shapes), "--recipe", "shapes-proxy", "--out"]
    more = ["--controller", "random", "--trials", "2", "--final-trainings", "6"]
    assert main([*argv, str(tmp_path / "a"), *more]) == 0
    assert genome_id(load_genome(tmp_path / "a" / "trials" / "0" / "genome.json")) == genome_id(
        load("nasfpn")
    )
    assert rows(capsys.readouterr().out)["nasfpn"][1] == "3"
    for number, options in enumerate((["--start", "none"], ["--levels", "3-5"])):
        out = tmp_path / str(number)
        assert main([*argv, str(out), *more, *options]) == 0
        assert "there is no starting point" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("nasfpn", r"cannot start with nasfpn.* levels must be \(3, 4, 5\), got \(3, 4, 5, 6, 7\)"),
        ("nasfpm", r"got 'nasfpm', did you mean nasfpn"),
        ("{mine},bifpn", r"cannot start with bifpn.*levels"),
        ("", "cannot read"),
        ("{mine},", "cannot read"),
    ],
)
def test_a_starting_point_that_cannot_be_used_is_named_before_the_data_are_read(
    start: str, message: str, tmp_path: Path, mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = start.format(mine=mine)
    assert main(command(tmp_path / "nowhere", tmp_path / "out", "--start", given)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)
    assert not (tmp_path / "out").exists()


def test_a_recipe_of_the_final_that_cannot_be_used_is_named_before_the_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = command(tmp_path / "nowhere", tmp_path / "out", "--final-set", "training.epocs=3")
    assert main(argv) == 2
    assert re.search(r"--final-set.*epocs|epocs.*--final-set", capsys.readouterr().err)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 6])
def test_an_interrupt_of_the_final_keeps_all_and_the_same_command_goes_on(
    moment: int,
    shapes: Path,
    tmp_path: Path,
    mine: str,
    jobs: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ("--trials", "3", "--start", mine, "--final", "2", "--final-seeds", "4")
    assert main(command(shapes, tmp_path / "whole", *options)) == 0
    whole, expected = rows(capsys.readouterr().out), len(jobs)
    out, evaluate = tmp_path / "out", worker.ProxyWorker.evaluate

    def interrupted(self: Any, job: Any, *more: Any) -> Any:
        if len(jobs) == expected + 3 + moment - 1:
            raise KeyboardInterrupt
        return evaluate(self, job, *more)

    with monkeypatch.context() as patch:
        patch.setattr(worker.ProxyWorker, "evaluate", interrupted)
        assert main(command(shapes, out, *options)) == 130
    assert "To resume, run the same command" in capsys.readouterr().err
    assert (out / "figures" / "search.svg").exists()
    assert "final" not in json.loads((out / "best.json").read_text())["meta"]
    assert main(command(shapes, out, *options)) == 0
    assert rows(capsys.readouterr().out) == whole
    assert len(jobs) == 2 * expected


@pytest.mark.slow
def test_without_a_final_a_warning_says_that_the_value_overstates(
    shapes: Path, tmp_path: Path, jobs: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(shapes, tmp_path / "a", "--trials", "2", "--final", "0")) == 0
    printed = capsys.readouterr()
    assert "warning: the value of the best genome is that of one short" in printed.err
    assert not (tmp_path / "a" / "final").exists()
    assert len(jobs) == 2
    options = ("--trials", "2", "--final", "2", "--final-trainings", "1")
    assert main(command(shapes, tmp_path / "a", *options)) == 0
    assert re.search(r"warning: .*--final-trainings .*got 1$", capsys.readouterr().err, re.M)
    assert len(jobs) == 2


@pytest.mark.slow
def test_callers_from_python_have_no_starting_points_and_no_final(
    shapes: Path, tmp_path: Path, jobs: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    study = run_search(
        shapes, tmp_path / "a", recipe=load_recipe("shapes-proxy"), controller="random", trials=2
    )
    assert len(study.trials) == len(jobs) == 2
    assert not (tmp_path / "a" / "final").exists()
    printed = capsys.readouterr()
    assert "contender" not in printed.out
    assert "warning" not in printed.err.replace("warning: all values", "")


@pytest.mark.slow
def test_a_start_that_is_added_after_the_last_trial_takes_part_in_the_final(
    shapes: Path,
    tmp_path: Path,
    mine: str,
    jobs: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--trials", "2", "--final", "1", "--final-seeds", "3")
    assert main(command(shapes, tmp_path / "a", *options)) == 0
    capsys.readouterr()
    assert main(command(shapes, tmp_path / "a", *options, "--start", mine)) == 0
    printed = capsys.readouterr()
    assert "mine only take part in the final" in printed.err
    assert rows(printed.out)["mine"][:2] == ["-", "3"]
    assert len(jobs) == 2 + 3 + 3


@pytest.mark.parametrize(
    ("options", "epochs", "rate"),
    [
        ([], 3, 0.03),
        (["--warm-start"], 24, 0.03),
        (
            ["--warm-start", "--reference-recipe", "shapes", "--final-set", "training.lr=0.5"],
            30,
            0.5,
        ),
        (["--warm-start", "--final-recipe", "shapes"], 30, 0.05),
        (["--set", "training.epochs=7", "--final-set", "training.lr=0.5"], 7, 0.5),
    ],
)
def test_the_recipe_of_the_final(options: list[str], epochs: int, rate: float) -> None:
    """After warm starts it is that of the reference: the final trains from scratch."""
    line = ["search", "--data", "d", "--recipe", "shapes-warm", "--out", "o", *options]
    args = make_parser().parse_args(line)
    recipe = load_recipe(args.recipe, args.overrides)
    reference = warm.chosen(args, recipe, [Level(number) for number in range(3, 8)])
    plan = plan_final(args, recipe, reference)
    assert plan is not None
    training = plan.recipe.training
    assert (training.epochs, training.lr) == (epochs, pytest.approx(rate))
