"""The race: rewards, runs and intervals; and the command."""

from __future__ import annotations

import json
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from controllers.race import Job, function, interval, run, run_all
from controllers.rewards import MEAN, REWARDS, SD
from search_space import Level, MergingCell, NASFPNSpace, SearchSpace, WideSpace, genome_id
from search_space.genome import Genome
from synthetic import SPACE
from tools.cli import main

PAPER = NASFPNSpace()


@pytest.fixture(params=REWARDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def genomes(count: int, seed: int, space: SearchSpace = PAPER) -> list[Genome]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("space", [PAPER, WideSpace()], ids=["paper", "wide"])
def test_values_of_random_genomes_are_like_ap(name: str, space: SearchSpace) -> None:
    """Each function is scaled on 1,000 other genomes: the mean has a standard error of 0.0022."""
    drawn = genomes(1000, 1, space)
    for seed in range(3):
        values = [function(name, space, seed)(genome) for genome in drawn]
        assert np.mean(values) == pytest.approx(MEAN, abs=0.012)
        assert np.std(values) == pytest.approx(SD, rel=0.15)


def test_seeds_have_different_functions(name: str) -> None:
    """The graph functions weigh the same properties, so they are related, but not the same."""
    drawn = genomes(200, seed=2)
    values = [[function(name, PAPER, seed)(genome) for genome in drawn] for seed in range(4)]
    correlations = np.corrcoef(values)[np.triu_indices(4, 1)]
    assert correlations.max() < 0.9


@pytest.mark.parametrize("space", [PAPER, WideSpace()], ids=["paper", "wide"])
def test_good_genomes_are_far_from_random_ones(name: str, space: SearchSpace) -> None:
    """A climb by exact values ends more than 2.5 deviations above the mean."""
    rng, value = np.random.default_rng(3), function(name, space, 0)
    best = space.sample(rng)
    for _ in range(400):
        best = max(best, space.mutate(best, rng), key=value)
    assert value(best) > MEAN + 2.5 * SD


def test_the_order_of_intermediate_cells_is_nothing_to_the_graph_reward() -> None:
    value = function("graph", PAPER, 0)
    one, other = MergingCell(Level(4), "sum", (0, 1)), MergingCell(Level(6), "sum", (2, 3))
    outputs = [(3, "sum", (5, 0)), (4, "attention", (6, 1)), (5, "sum", (2, 5))]
    outputs += [(6, "sum", (3, 9)), (7, "attention", (4, 6))]
    exchanged = {5: 6, 6: 5}
    cells = [MergingCell(Level(a), op, nodes) for a, op, nodes in outputs]
    changed = [
        MergingCell(Level(a), op, tuple(exchanged.get(n, n) for n in nodes))
        for a, op, nodes in outputs
    ]
    pair = Genome((one, other, *cells)), Genome((other, one, *changed))
    assert genome_id(pair[0]) == genome_id(pair[1])
    assert value(pair[0]) == value(pair[1])


@pytest.mark.slow
def test_a_cell_that_is_not_used_is_bad_for_the_graph_reward() -> None:
    """Node 5 is read by the output of level 3, or by no cell; paths become longer as well."""
    read = [(4, (0, 1)), (4, (1, 2)), (3, (0, 5)), (4, (1, 6)), (5, (2, 6))]
    read += [(6, (3, 4)), (7, (3, 4))]
    unread = [(level, (0, 1) if nodes == (0, 5) else nodes) for level, nodes in read]
    worse = 0
    for seed in range(20):
        value = function("graph", PAPER, seed)
        with_it, without = (
            value(Genome(tuple(MergingCell(Level(a), "sum", nodes) for a, nodes in cells)))
            for cells in (read, unread)
        )
        worse += without < with_it
    assert worse >= 15  # of 20; a property that says nothing gives this with probability 0.02


def test_curves_are_the_values_of_the_genome_picked_and_of_the_best() -> None:
    exact = run(Job("random", "graph", 0.0, 0, 40))
    noisy = run(Job("random", "graph", 0.06, 0, 40))
    assert (exact.picked == exact.best).all()
    # Random search does not look at the noise, so it tries the same genomes.
    assert (noisy.best == exact.best).all()
    assert (noisy.picked <= noisy.best).all()
    assert (noisy.picked < noisy.best).any()
    assert all(a <= b for a, b in pairwise(exact.best))


def test_a_search_that_ends_early_keeps_its_best() -> None:
    """Trials are different pyramids, and the space has fewer than 30."""
    space = NASFPNSpace((Level(3), Level(4)), 0, ops=("sum",))
    curve = run(Job("random", "graph", 0.03, 0, 30, space))
    value = function("graph", space, 0)
    assert space.size() < 30
    assert curve.best[-1] == pytest.approx(max(map(value, space.enumerate())))
    assert len(curve.best) == len(curve.picked) == 30


def test_other_processes_run_the_same_searches() -> None:
    jobs = [Job("evolution", "additive", 0.03, seed, 25, SPACE) for seed in range(2)]
    here, there = dict(run_all(jobs, 1)), dict(run_all(jobs, 2))
    for job in jobs:
        assert (here[job].picked == there[job].picked).all()


@pytest.mark.parametrize("count", [5, 20, 100])
def test_the_interval_is_that_of_student(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    exact = student.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count)
    assert interval(values) == pytest.approx(exact, rel=0.005)


@pytest.mark.slow
def test_the_command_prints_tables_and_writes_curves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["bench", "controllers", "--controllers", "tpe", "evolution", "--processes", "1"]
    argv += ["--trials", "22", "--seeds", "3", "--noise", "0", "0.06", "--sizes", "25"]
    files = tmp_path / "race.json", tmp_path / "race.svg"
    assert main([*argv, "--json", str(files[0]), "-o", str(files[1])]) == 0
    printed = capsys.readouterr().out
    content = json.loads(files[0].read_text())
    assert list(content["values"]) == [
        f"{reward} reward, noise {noise}"
        for reward in ("additive", "graph")
        for noise in ("0", "0.06")
    ]
    for lines in content["values"].values():
        assert list(lines) == ["random", "tpe", "evolution"]
        for name, line in lines.items():
            picked = np.asarray(line["picked"])
            assert picked.shape == (3, 22)
            assert f"\n{name:12}" in printed
            assert f"{picked[:, 19].mean():.3f}" in printed
            assert f"{picked[:, 21].mean():.3f}" in printed
    assert set(content["seconds per proposal"]) == {"random", "tpe", "evolution"}
    assert files[1].read_text().count("<svg") == 1


@pytest.mark.slow
def test_no_three_changes_in_different_cells_interact_in_the_additive_reward() -> None:
    """The function is a sum over facts and pairs of facts, so third differences vanish.

    Output 2 reads output 1 or not, output 1 has one op or the other, and an intermediate cell is
    there or not. If that renumbered the output that is read, all three would interact.
    """
    space = WideSpace((3, 4, 5), 1)  # type: ignore[arg-type]
    for seed in range(10):
        value, total, gains = function("additive", space, seed), 0.0, set[float]()
        for reads, op, there in product((0, 1), repeat=3):
            first = 3 + there  # the node of output 0
            cells = [(3, "sum", (0, 1)), (4, ("sum", "weighted")[op], (0, 2))]
            cells += [(5, "sum", (0, 1, first + 1) if reads else (0, 1))]
            cells = [(4, "attention", (0, 1))] * there + cells
            genome = Genome(
                tuple(MergingCell(Level(a), merge, nodes) for a, merge, nodes in cells),
                space.levels,
            )
            assert space.contains(genome)
            gains.add(value(genome))
            total += (-1) ** (reads + op + there) * value(genome)
        assert total == pytest.approx(0, abs=1e-12)
        assert len(gains) == 8


@pytest.mark.slow
def test_the_command_races_in_the_wide_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "race.json"
    argv = ["bench", "controllers", "--space", "wide", "--controllers", "evolution"]
    argv += ["--processes", "1", "--trials", "6", "--seeds", "3", "--sizes", "0"]
    assert main([*argv, "--json", str(path)]) == 0
    assert "space wide of about 8.91e+29 genomes" in capsys.readouterr().out
    content = json.loads(path.read_text())
    assert content["space"] == "wide"
    for reward in REWARDS:
        curve = run(Job("evolution", reward, 0.03, 2, 6, WideSpace()))
        given = content["values"][f"{reward} reward, noise 0.03"]["evolution"]["picked"][2]
        assert given == pytest.approx(curve.picked, abs=1e-6)


def test_the_command_races_controllers_with_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both rows are of evolution; with a population of 4 it stops drawing at random earlier."""
    path, text = tmp_path / "race.json", "evolution:population=4,crossover_probability=1"
    argv = ["bench", "controllers", "--controllers", "evolution", text, "--processes", "1"]
    argv += ["--trials", "12", "--seeds", "3", "--noise", "0", "--sizes", "25"]
    assert main([*argv, "--json", str(path)]) == 0
    values = json.loads(path.read_text())["values"]["graph reward, noise 0"]
    assert list(values) == ["random", "evolution", text]
    settings = (("population", 4), ("crossover_probability", 1.0))
    for row, given in (("evolution", ()), (text, settings)):
        curves = [
            run(Job("evolution", "graph", 0.0, seed, 12, settings=given)) for seed in range(3)
        ]
        assert np.allclose(values[row]["picked"], [curve.picked for curve in curves], atol=1e-6)
    assert values["evolution"] != values[text]
    printed = capsys.readouterr().out
    assert "18 searches of 12 genomes in 1 processes" in printed
    assert printed.count(f"\n{text}") == 4  # two rewards, CPU time of a search, of a proposal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("evolutoin", "got 'evolutoin', did you mean evolution?"),
        ("evolution:populaton=3", "got 'populaton', did you mean population?"),
        ("evolution:population=0", "population must be 1 or more, at most 100,000, got 0"),
        ("evolution:population", "must be KEY=VALUE, got 'population'"),
        ("evolution:", "must be KEY=VALUE, got ''"),
    ],
)
def test_a_controller_that_cannot_race_is_refused(
    text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "controllers", "--controllers", text]) == 2
    assert message in capsys.readouterr().err
