"""Starting points: queued once, trained first, known to every controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from controllers import names
from controllers.errors import StudyError
from controllers.samplers import REPEATS
from controllers.search import search
from controllers.starts import contenders, queue_starts
from controllers.study import DUPLICATE_OF, START, WORKER, Presence, locked, recover, trained
from search_space import Genome, MergingCell, genome_id
from searched_archs import load
from searches import GENOMES, genomes_of, log, opened, run, settings
from synthetic import SPACE, reward


def queue(study: Any, out: Path, *given: str) -> list[str]:
    with locked(out):
        return queue_starts(study, SPACE, {name: GENOMES[name] for name in given})


@pytest.mark.slow
@pytest.mark.parametrize("controller", names())
def test_every_controller_goes_on_from_the_starting_points(controller: str, tmp_path: Path) -> None:
    """They come first, and the proposals after them are those of the same trials told by hand."""
    study = opened(tmp_path, controller)
    assert queue(study, tmp_path, "one", "two") == ["one", "two"]
    search(study, SPACE, settings(tmp_path, 6))
    first = [SPACE.decode(trial.params) for trial in study.trials[:2]]
    assert first == [GENOMES["one"], GENOMES["two"]]
    assert [trial.value for trial in study.trials[:2]] == [reward(genome) for genome in first]
    by_hand = opened(tmp_path / "by hand", controller)
    for genome in first:
        by_hand.enqueue_trial(SPACE.encode(genome))
    search(by_hand, SPACE, settings(tmp_path / "by hand", 6))
    assert log(study) == log(by_hand)
    assert len(trained(study)) == 6  # they count


@pytest.mark.slow
def test_starting_points_are_queued_once_and_later_ones_are_added(tmp_path: Path) -> None:
    for _ in range(2):  # as if the first command had been killed after queueing
        study = opened(tmp_path)
        queue(study, tmp_path, "one")
    assert [trial.state for trial in study.trials] == [TrialState.WAITING]
    run(tmp_path, "random", 4)
    assert queue(study, tmp_path, "one", "two", "three") == ["two", "three"]
    run(tmp_path, "random", 7)
    assert queue(opened(tmp_path), tmp_path, "three", "two") == []
    assert {t.user_attrs.get(START): t.number for t in study.trials} == {
        **dict.fromkeys([None], 6),
        "one": 0,
        "two": 4,
        "three": 5,
    }
    assert len(genomes_of(study)) == len(set(genomes_of(study))) == 7


def test_equal_genomes_are_one_and_another_genome_gets_another_name(tmp_path: Path) -> None:
    study = opened(tmp_path)
    one = GENOMES["one"]
    swapped = Genome(
        tuple(
            MergingCell(c.level, c.op, c.inputs[::-1] if c.op == "sum" else c.inputs)
            for c in one.cells
        ),
        one.levels,
    )
    assert swapped != one
    with locked(tmp_path):
        assert queue_starts(study, SPACE, {"one": one, "same": swapped}) == ["one"]
        assert queue_starts(study, SPACE, {"one": GENOMES["two"]}) == ["one (2)"]
        assert queue_starts(study, SPACE, {"one": GENOMES["two"], "x": one}) == []


@pytest.mark.slow
def test_a_genome_that_was_trained_before_is_not_trained_again(tmp_path: Path) -> None:
    study = run(tmp_path, "random", 3)
    known = SPACE.decode(study.trials[1].params)
    with locked(tmp_path):
        assert queue_starts(study, SPACE, {"known": known}) == ["known"]
    assert [c.start for c in contenders(study, SPACE, 0)] == [True]
    run(tmp_path, "random", 4)
    (start,) = [trial for trial in study.trials if START in trial.user_attrs]
    assert start.user_attrs[DUPLICATE_OF] == 1
    (found,) = contenders(study, SPACE, 0)
    assert (found.name, found.trial, found.value) == ("known", 1, study.trials[1].value)


def test_a_genome_outside_the_space_is_named_with_rule_and_value(tmp_path: Path) -> None:
    study = opened(tmp_path)
    with locked(tmp_path), pytest.raises(StudyError, match=r"mine.*levels .*got \(3, 4, 5, 6, 7\)"):
        queue_starts(study, SPACE, {"one": GENOMES["one"], "mine": load("nasfpn")})
    assert study.trials == []


@pytest.mark.slow
@pytest.mark.parametrize("asked", range(0, len(SPACE.decisions()), 3))
def test_a_starting_point_is_repeated_whenever_its_process_dies(tmp_path: Path, asked: int) -> None:
    """Also before it has been asked for its first decision; then Optuna has no parameter of it."""
    study = opened(tmp_path)
    queue(study, tmp_path, "one")
    for attempt in range(2):  # the repetition dies, too
        with Presence(tmp_path) as dead, locked(tmp_path):
            trial = study.ask()
            trial.set_user_attr(WORKER, dead.name)
            for decision in SPACE.decisions()[:asked]:
                trial.suggest_categorical(decision.name, range(decision.size))
        (tmp_path / "workers" / dead.name).touch()
        with Presence(tmp_path) as me, locked(tmp_path):
            assert recover(study, me) == [attempt]
            assert queue_starts(study, SPACE, {"one": GENOMES["one"]}) == []
    run(tmp_path, "random", 2)
    assert study.trials[2].user_attrs[REPEATS] == 1
    assert SPACE.decode(study.trials[2].params) == GENOMES["one"]
    (found,) = contenders(study, SPACE, 0)
    assert (found.name, found.trial) == ("one", 2)
    unbroken = opened(tmp_path / "unbroken")
    queue(unbroken, tmp_path / "unbroken", "one")
    run(tmp_path / "unbroken", "random", 2)
    assert log(study) == log(unbroken)


def test_contenders_are_the_best_and_the_starting_points(tmp_path: Path) -> None:
    study = opened(tmp_path)
    queue(study, tmp_path, "one", "two")
    run(tmp_path, "random", 12)
    queue(study, tmp_path, "three")  # is not trained
    ranked = sorted(trained(study), key=lambda trial: -(trial.value or 0))
    found = contenders(study, SPACE, 4)
    best = [trial.number for trial in ranked if trial.number < 2 or trial in ranked[:4]]
    assert [c.trial for c in found] == [*best, None]
    assert {c.name for c in found if c.start} == {"one", "two", "three"}
    assert all(c.name == f"trial {c.trial}" for c in found if not c.start)
    assert all(genome_id(c.genome) == c.identity for c in found)
    assert found[-1].genome == GENOMES["three"]


def test_starting_points_of_a_damaged_journal_are_queued_again(tmp_path: Path) -> None:
    study = opened(tmp_path)
    queue(study, tmp_path, "one", "two")
    run(tmp_path, "random", 1)
    with open(tmp_path / "study.journal", "ab") as journal:
        journal.write(b"damage\n")
    repaired = opened(tmp_path, repair=lambda report: None)
    assert queue(repaired, tmp_path, "one", "two") == ["two"]
