"""A search on a ladder: who goes on, what controllers see, faults between and within rungs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

import controllers
import synthetic
from controllers import create_sampler, names
from controllers.errors import SearchError
from controllers.journal import IDENTITY
from controllers.ladder import climbed, rank
from controllers.samplers import REPEATS
from controllers.search import search
from controllers.starts import contenders
from controllers.study import DUPLICATE_OF, GENOME_ID, KNOWN, open_study, trained
from controllers.worker import Job, Outcome, Watch
from search_space import Level, NASFPNSpace, genome_id, load_genome
from searches import Recorder, genomes_of, new_study, opened, run, settings, start
from synthetic import SPACE

# Three rungs, each with noise of its own, and values that are not comparable with one another's.
RUNGS = {
    "short": {"noise": 2.0, "seed": 1, "add": 100},
    "middle": {"noise": 1.0, "seed": 2, "add": -100},
    "long": {"noise": 0.1, "seed": 3},
}


def goes_on(values: Sequence[float], factor: int) -> list[bool]:
    """Return which trials with these values on a rung, in their order, are trained further."""
    return [
        sum(other > value for other in values[:before]) < max(1, (before + 1) // factor)
        for before, value in enumerate(values)
    ]


def ended(study: Study) -> list[FrozenTrial]:
    """Return the trials of a study, but duplicates and those that another one repeats."""
    repeated = {trial.user_attrs.get(REPEATS) for trial in study.trials}
    return [
        trial
        for trial in study.trials
        if trial.number not in repeated and DUPLICATE_OF not in trial.user_attrs
    ]


def check_decisions(trials: Sequence[FrozenTrial], factor: int, rungs: int = 3) -> None:
    """Check who goes on; of trials that one process has trained in this order."""
    for number in range(rungs - 1):
        here = [trial for trial in trials if len(climbed(trial)) > number]
        expected = goes_on([climbed(trial)[number] for trial in here], factor)
        assert [len(climbed(trial)) > number + 1 for trial in here] == expected
    for trial in trials:
        complete = len(climbed(trial)) == rungs
        assert trial.state == (TrialState.COMPLETE if complete else TrialState.PRUNED)
        assert trial.value == climbed(trial)[-1]


def record(study: Study) -> list[tuple[Any, ...]]:
    """Return what a search has found out, whatever was interrupted."""
    return [(t.params, t.state, climbed(t), t.user_attrs.get(GENOME_ID)) for t in ended(study)]


class InProcess:
    """Evaluates candidates in this process, in place of ``ProxyWorker``: tests are faster."""

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *error: object) -> None: ...

    def evaluate(self, job: Job, timeout: float | None, watch: Watch) -> Outcome:
        watch({})
        try:
            metrics = getattr(synthetic, job.evaluate.partition(":")[2])(job.arguments)
        except RuntimeError as error:
            return Outcome(None, str(error), 0.0)
        return Outcome(metrics, None, 0.0)


def in_memory(out: Path, controller: str, trials: int, **arguments: Any) -> Study:
    """Search as ``run`` does, with a study in memory, which is faster.

    Without a ladder, no genome is trained twice either.
    """
    sampler = create_sampler(controller, SPACE, 0)
    sampler.repeats = False
    study, limits = new_study(sampler), settings(out, trials, **arguments)
    if limits.ladder is not None:
        names = [rung.name for rung in limits.rungs]
        study.set_user_attr(IDENTITY, {"ladder": {"rungs": names}})
    out.mkdir(exist_ok=True)
    search(study, SPACE, limits)
    return study


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train nothing in other processes."""
    monkeypatch.setattr("controllers.crew.ProxyWorker", InProcess)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("factor", [2, 3, 5])
def test_the_best_share_of_the_values_of_a_rung_goes_on(tmp_path: Path, factor: int) -> None:
    study = in_memory(tmp_path, "random", 40, rungs=RUNGS, factor=factor)
    trials = ended(study)
    assert len(trials) == len(trained(study)) == 40
    check_decisions(trials, factor)
    steps = {step for trial in trials for step in trial.intermediate_values}
    assert steps == {1, factor, factor**2}
    for trial in trials:
        files = {path.name for path in (tmp_path / "trials" / str(trial.number)).iterdir()}
        assert files == {"genome.json", *list(RUNGS)[: len(climbed(trial))]}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("controller", names())
def test_a_controller_proposes_what_it_would_without_the_higher_rungs(
    tmp_path: Path, controller: str
) -> None:
    ladder = in_memory(tmp_path / "ladder", controller, 24, rungs=RUNGS)
    plain = in_memory(tmp_path / "plain", controller, 24, **RUNGS["short"])
    assert [trial.params for trial in ladder.trials] == [trial.params for trial in plain.trials]
    assert [climbed(trial)[0] for trial in ladder.trials] == [trial.value for trial in plain.trials]
    assert any(trial.state == TrialState.PRUNED for trial in ladder.trials)


@pytest.mark.usefixtures("here")
def test_a_ladder_of_one_rung_is_a_search_without_a_ladder(tmp_path: Path) -> None:
    ladder = in_memory(tmp_path / "ladder", "evolution", 30, rungs={"only": RUNGS["short"]})
    plain = in_memory(tmp_path / "plain", "evolution", 30, **RUNGS["short"])

    def found(study: Study) -> list[Any]:
        return [(trial.params, trial.value, trial.state) for trial in study.trials]

    assert found(ladder) == found(plain)
    best = [tmp_path / name / "best.json" for name in ("ladder", "plain")]
    assert load_genome(best[0]) == load_genome(best[1])


@pytest.mark.usefixtures("here")
def test_the_best_genome_is_that_of_the_highest_rung(tmp_path: Path) -> None:
    """The lowest rung has the highest values, as its AP may be."""
    study = in_memory(tmp_path, "random", 30, rungs=RUNGS)
    order = sorted(ended(study), key=lambda t: (-len(climbed(t)), -climbed(t)[-1]))
    assert len(climbed(order[0])) == 3
    assert max(trained(study), key=rank) == order[0]
    found = contenders(study, SPACE, 30)
    assert [contender.trial for contender in found] == [trial.number for trial in order]
    assert [c.rung for c in found] == [list(RUNGS)[len(climbed(t)) - 1] for t in order]
    meta = json.loads((tmp_path / "best.json").read_text())["meta"]
    assert (meta["trial"], meta["value"]) == (order[0].number, climbed(order[0])[-1])
    assert meta["rung"] == "long"
    assert genome_id(load_genome(tmp_path / "best.json")) == order[0].user_attrs[GENOME_ID]


@pytest.mark.usefixtures("here")
def test_a_known_genome_gets_its_old_values_and_does_not_compete(tmp_path: Path) -> None:
    space = NASFPNSpace((Level(3), Level(4)), intermediate_cells=0)  # 24 genomes
    study = new_study(controllers.RegularizedEvolutionSampler(space))
    search(study, space, replace(settings(tmp_path, 100, rungs=RUNGS), duplicates=40))
    check_decisions(ended(study), 3)
    assert len(set(genomes_of(study))) == len(genomes_of(study))
    duplicates = [trial for trial in study.trials if DUPLICATE_OF in trial.user_attrs]
    assert {trial.state for trial in duplicates} == {TrialState.PRUNED, TrialState.COMPLETE}
    for trial in duplicates:
        twin = study.trials[trial.user_attrs[DUPLICATE_OF]]
        assert (trial.state, trial.value) == (twin.state, twin.value)
        assert trial.intermediate_values == twin.intermediate_values


@pytest.mark.usefixtures("here")
def test_the_notes_name_the_rungs(tmp_path: Path) -> None:
    study, view = opened(tmp_path, ladder={"rungs": list(RUNGS)}), Recorder()
    search(study, SPACE, settings(tmp_path, 8, rungs=RUNGS), view)
    assert view.advanced == 8
    trials = {trial.number: climbed(trial) for trial in study.trials}
    lines = [re.sub(r" after \d+ s", "", note) for note in view.notes]
    for number, values in trials.items():
        for rung, following, value in zip(RUNGS, [*list(RUNGS)[1:], ""], values, strict=False):
            last = value == values[-1]
            end = "; best is trial " if last else f"; goes on to rung {following}"
            (line,) = (s for s in lines if s.startswith(f"trial {number} on rung {rung}: "))
            assert f"value {value:.4f}{end}" in line
    best = max(trained(study), key=rank)
    assert best is not None
    assert lines[-1].endswith(f"best is trial {best.number} with {best.value:.4f} on rung long")
    shown = {str(progress).partition(":")[0] for progress in view.seen}
    assert "trial 0 on rung middle" in shown


@pytest.mark.usefixtures("here")
def test_a_genome_that_fails_on_a_higher_rung_keeps_its_lower_values(tmp_path: Path) -> None:
    """Trials that are stopped on a lower rung in between do not hide that a rung always fails."""
    rungs = {**RUNGS, "middle": {**RUNGS["middle"], "fail_in": ["middle"]}}
    with pytest.raises(SearchError, match=r"5 candidates in a row failed on rung middle.*middle/"):
        run(tmp_path, "random", 60, rungs=rungs)
    study = opened(tmp_path, ladder={"rungs": list(RUNGS), "recipes": {}, "factor": 3})
    failed = [trial for trial in study.trials if "error" in trial.user_attrs]
    assert len(failed) == 5 < len(study.trials)
    for trial in study.trials:
        assert (trial.state, len(climbed(trial))) == (TrialState.PRUNED, 1)
        assert trial.value == climbed(trial)[0]
    expected = goes_on([climbed(trial)[0] for trial in study.trials], 3)
    assert [trial.number for trial in failed] == [n for n, on in enumerate(expected) if on]
    best = json.loads((tmp_path / "best.json").read_text())["meta"]
    assert (best["rung"], best["value"]) == ("short", max(t.value or 0 for t in study.trials))


@pytest.mark.slow
@pytest.mark.parametrize("rung", ["short", "middle", "long"])
def test_a_search_that_is_killed_on_a_rung_repeats_that_rung_only(
    tmp_path: Path, rung: str
) -> None:
    """SIGKILL in the second training on the rung."""
    unbroken = run(tmp_path / "unbroken", "random", 12, rungs=RUNGS)
    height = list(RUNGS).index(rung)
    climbers = [trial.number for trial in unbroken.trials if len(climbed(trial)) > height]
    stop, out = climbers[1], tmp_path / "killed"
    common = {"rungs": RUNGS, "trainings": str(tmp_path / "trainings")}
    process = start(out, "random", 12, hang_in=f"{stop}/{rung}", **common)
    while process.poll() is None and not (out / "trials" / str(stop) / rung / "log").exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    study = run(out, "random", 12, **common)
    assert record(study) == record(unbroken)
    assert load_genome(out / "best.json") == load_genome(tmp_path / "unbroken" / "best.json")
    (again,) = (trial for trial in study.trials if REPEATS in trial.user_attrs)
    assert again.user_attrs.get(KNOWN, []) == climbed(again)[:height]
    made = (tmp_path / "trainings").read_text().splitlines()
    assert [line for line in set(made) if made.count(line) > 1] == [
        f"{again.user_attrs[GENOME_ID]} {rung}"
    ]
    assert len(made) == sum(len(climbed(trial)) for trial in ended(study)) + 1


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("where", ["report", "should_prune", "tell"])
@pytest.mark.parametrize("before", [True, False])
def test_a_decision_that_a_kill_cuts_short_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, before: bool
) -> None:
    """The process ends at each of the steps that record a value and a decision, in turn."""
    unbroken = record(in_memory(tmp_path / "unbroken", "random", 9, rungs=RUNGS))
    study = new_study(create_sampler("random", SPACE, 0))
    owner: Any = Study if where == "tell" else Trial
    original, calls, stops = getattr(owner, where), 0, {2, 4, 5, 7, 9}

    def end(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if before and calls in stops:
            raise SystemExit
        result = original(*arguments, **named)
        if calls in stops:
            raise SystemExit
        return result

    monkeypatch.setattr(owner, where, end)
    interrupts = 0
    while interrupts < 20:
        try:
            search(study, SPACE, settings(tmp_path, 9, rungs=RUNGS))
            break
        except SystemExit:
            interrupts += 1
    assert interrupts == len(stops)
    assert record(study) == unbroken


@pytest.mark.slow
def test_processes_compare_with_the_values_of_trials_that_still_run(tmp_path: Path) -> None:
    """The other process hangs on the second rung of trial 0, which has a value on the first."""
    other = start(tmp_path, "random", 12, rungs=RUNGS, hang_in="0/middle")
    while not (tmp_path / "trials" / "0" / "middle" / "log").exists():
        assert other.poll() is None
        time.sleep(0.01)
    study = run(tmp_path, "random", 12, rungs=RUNGS)
    try:
        first, *others = study.trials
        assert (first.state, len(climbed(first)), len(others)) == (TrialState.RUNNING, 1, 11)
        on_first = [climbed(trial)[0] for trial in study.trials]
        assert [len(climbed(t)) > 1 for t in others] == goes_on(on_first, 3)[1:]
    finally:
        other.kill()
        other.wait()


@pytest.mark.slow
def test_two_processes_train_no_genome_twice_on_a_rung(tmp_path: Path) -> None:
    together = {"seconds": 0.02, "meet_in": "0", "trainings": str(tmp_path / "trainings")}
    rungs = {name: {**own, "noise": 0} for name, own in RUNGS.items()}
    out = tmp_path / "out"
    processes = [start(out, "evolution", 16, rungs=rungs, **together) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    study = opened(out, "evolution", ladder={"rungs": list(RUNGS), "recipes": {}, "factor": 3})
    made = (tmp_path / "trainings").read_text().splitlines()
    assert len(made) == len(set(made)) == sum(len(climbed(trial)) for trial in ended(study))
    assert 15 <= len(genomes_of(study)) <= 16


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_database_keeps_the_rungs_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    out, limits = tmp_path / "out", settings(tmp_path / "out", 6, rungs=RUNGS)
    for trials in (3, 6):
        study = open_study(out, {}, create_sampler("random", SPACE, 0), url)
        search(study, SPACE, replace(limits, trials=trials))
    check_decisions(ended(study), 3)
    assert record(study) == record(in_memory(tmp_path / "other", "random", 6, rungs=RUNGS))
