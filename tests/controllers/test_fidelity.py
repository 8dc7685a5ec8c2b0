"""A study of rungs: its genomes, its trainings, and what is left of them after a fault."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import searched_archs
from controllers import fidelity
from controllers.errors import SearchError
from controllers.fidelity import make, missing, plan, scores, spread
from controllers.trainings import TABLE, Rung, Score, Table, Training
from controllers.worker import Watch
from nasfpn_runtime.recipe.recipe import load_recipe
from runs import wait_until
from search_space import NASFPNSpace, SearchSpace, WideSpace, genome_id
from synthetic import SPACE

# Makes all trainings in the run folder OUT; `hang` is the folder of one that never ends.
SCRIPT = "import sys, test_fidelity; test_fidelity.run(sys.argv[1], hang=[sys.argv[2]])"


def study(**more: Any) -> list[Training]:
    """Return the trainings of two rungs, three genomes and two seeds; 12 in all."""
    rungs = []
    for name, epochs in (("target", 8), ("proxy", 2)):
        recipe = load_recipe("shapes-warm", [f"training.epochs={epochs}"]).to_dict()
        rungs.append(Rung(name, {"recipe": recipe, "digests": {"train": "v1:a"}, **more}))
    return plan(rungs, spread(SPACE, 3), (0, 1))


def unseen(training: Training) -> Watch:
    return lambda report: None


def run(out: Path | str, workers: int = 1, **more: Any) -> list[tuple[Training, Score | str]]:
    """Make what is missing in a run folder; ``more`` are arguments of the stub."""
    table = Table(Path(out, TABLE))
    todo = missing(study(journal=str(Path(out, "journal")), **more), table)
    made: list[tuple[Training, Score | str]] = []
    rest: dict[str, Any] = {"workers": workers, "evaluate": "synthetic:evaluate_rung"}
    make(todo, table, unseen, lambda *end: made.append(end), **rest)
    return made


def started(out: Path) -> list[str]:
    """Return the folders of the trainings that were started, in order."""
    file = out / "journal"
    return file.read_text().split() if file.exists() else []


def folders(trainings: Sequence[Training]) -> list[str]:
    return [training.folder.name for training in trainings]


@pytest.mark.parametrize("space", [NASFPNSpace(), WideSpace()], ids=["paper", "wide"])
def test_genomes_are_the_known_members_then_others_and_more_begin_the_same(
    space: SearchSpace,
) -> None:
    known = [searched_archs.load(name) for name in searched_archs.names()]
    members = [genome for genome in known if space.contains(genome)]
    assert members
    genomes = spread(space, 12, known)
    assert genomes[: len(members)] == members
    assert all(space.contains(genome) for genome in genomes)
    assert len({genome_id(genome) for genome in genomes}) == len(genomes) == 12
    assert spread(space, 7, known) == genomes[:7]
    assert spread(space, 2, known) == members[:2]


def test_every_second_draw_is_near_a_known_member(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "CHANGES", 1)
    space, member = NASFPNSpace(), searched_archs.load("nasfpn")
    near = {genome_id(genome) for genome in space.neighbours(member)}
    drawn = spread(space, 9, [member])[1:]
    assert [genome_id(genome) in near for genome in drawn] == [False, True] * 4


@pytest.mark.slow
def test_a_space_that_is_used_up_has_fewer() -> None:
    tiny = NASFPNSpace((3, 4), intermediate_cells=0)  # type: ignore[arg-type]
    every = {genome_id(genome) for genome in tiny.enumerate()}
    assert {genome_id(genome) for genome in spread(tiny, len(every) + 1)} == every


def test_trainings_are_made_genome_by_genome_once_and_keep_no_weights(tmp_path: Path) -> None:
    trainings = study()
    assert [(t.genome, t.seed, t.rung.name) for t in trainings[:5]] == [
        *((trainings[0].genome, seed, name) for name in ("target", "proxy") for seed in (0, 1)),
        (trainings[4].genome, 0, "target"),
    ]
    made = run(tmp_path)
    assert folders([training for training, _ in made]) == folders(trainings) == started(tmp_path)
    table = Table(tmp_path / TABLE)
    assert [table.score(training) for training in trainings] == [score for _, score in made]
    assert run(tmp_path) == []
    assert not list(tmp_path.glob("runs/**/*.ckpt"))
    rung, genomes = trainings[0].rung, [t.genome for t in trainings[::4]]
    ap, seconds = scores(rung, genomes, (0, 1, 2), table)
    wanted = [[made[i][1], made[i + 1][1]] for i in (0, 4, 8)]
    assert ap[:, :2].tolist() == [[s.ap for s in row] for row in wanted]  # type: ignore[union-attr]
    assert (ap[:, :2] > 0).all()
    assert (seconds[:, :2] > 0).all()
    assert np.isnan(ap[:, 2]).all()  # no such seed was trained
    assert np.isnan(seconds[:, 2]).all()


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 5, 11])
def test_a_study_that_is_killed_makes_only_what_is_missing(number: int, tmp_path: Path) -> None:
    names = folders(study())
    paths = [str(Path(__file__).parent), *sys.path]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path), names[number]],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    wait_until(lambda: started(tmp_path) == names[: number + 1])
    process.kill()
    process.wait()
    assert folders([training for training, _ in run(tmp_path)]) == names[number:]
    assert started(tmp_path) == [*names[: number + 1], *names[number:]]


def test_the_same_training_on_two_rungs_is_made_once(tmp_path: Path) -> None:
    rung = study()[0].rung
    both = plan([rung, Rung("again", rung.arguments)], spread(SPACE, 2), (0, 1))
    assert missing(both, Table(tmp_path / TABLE)) == [both[i] for i in (0, 1, 4, 5)]


@pytest.mark.slow
def test_a_failed_training_is_left_out_and_made_when_the_study_is_resumed(tmp_path: Path) -> None:
    names = folders(study())
    failed = [names[3], names[7]]
    made = run(tmp_path, fail=failed)
    reasons = {t.folder.name: result for t, result in made if isinstance(result, str)}
    assert list(reasons) == failed
    assert "the loss is not finite" in reasons[failed[0]]
    assert folders([training for training, _ in run(tmp_path)]) == failed


@pytest.mark.slow
def test_trainings_that_keep_failing_stop_the_study_and_name_the_log(tmp_path: Path) -> None:
    names = folders(study())
    with pytest.raises(SearchError, match=rf"5 .*not finite.*{names[6]}/log"):
        run(tmp_path, fail=names[2:])
    assert started(tmp_path) == names[:7]


@pytest.mark.slow
def test_several_workers_make_the_same_table(tmp_path: Path) -> None:
    tables = []
    for workers in (1, 3):
        run(tmp_path / str(workers), workers)
        table = Table(tmp_path / str(workers) / TABLE)
        tables.append([table.score(training) for training in study()])
    assert [score and score.ap for score in tables[0]] == [
        score and score.ap for score in tables[1]
    ]
    assert None not in tables[1]


@pytest.mark.slow
def test_failures_that_are_not_in_a_row_do_not_stop_the_study(tmp_path: Path) -> None:
    names = folders(study())
    failed = [name for number, name in enumerate(names) if number not in (4, 9)]
    made = run(tmp_path, fail=failed[:8])  # four, a score, four, and the rest
    assert [isinstance(result, str) for _, result in made].count(True) == 8
    assert len(made) == 12


def test_a_fault_that_no_training_survives_stops_the_study_at_once(tmp_path: Path) -> None:
    """The stub of ``candidate.evaluate`` raises a SearchError, as for data that have changed."""
    table = Table(tmp_path / TABLE)
    todo = study()
    with pytest.raises(SearchError, match=rf"{todo[0].folder}: the data have changed"):
        make(todo, table, unseen, lambda *_: None, evaluate="synthetic:refuse")
