"""The study of a run folder: recovery of trials, refusal of other searches, storages."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

import controllers
from controllers.errors import StudyError
from controllers.samplers import suggest
from controllers.search import search
from controllers.study import WORKER, Presence, locked, open_study, recover
from searches import log, opened, run, settings
from synthetic import SPACE


def test_a_trial_of_a_living_worker_is_left_alone(tmp_path: Path) -> None:
    study = opened(tmp_path)
    with Presence(tmp_path) as other, Presence(tmp_path) as me, locked(tmp_path):
        trial = study.ask()
        assert recover(study, me) == []  # not claimed yet, and others are alive
        trial.set_user_attr(WORKER, other.name)
        suggest(trial, SPACE)
        assert recover(study, me) == []
    (tmp_path / "workers" / other.name).touch()  # as if the other had been killed
    with Presence(tmp_path) as me, locked(tmp_path):
        assert recover(study, me) == [trial.number]
        assert recover(study, me) == []
        again = study.ask()
        assert suggest(again, SPACE) == SPACE.decode(trial.params)


def test_an_unclaimed_trial_is_repeated_once_no_other_process_is_alive(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.ask()
    with Presence(tmp_path) as me:
        assert recover(study, me) == [0]


def test_a_trial_of_another_machine_is_left_alone(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.ask().set_user_attr(WORKER, "elsewhere")
    with Presence(tmp_path) as me:
        assert recover(study, me) == []


def test_another_search_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    opened(tmp_path)
    with pytest.raises(StudyError, match=r"recipe\.epochs .*3 .*got 4; choose another"):
        opened(tmp_path, recipe={"epochs": 4})
    with pytest.raises(StudyError, match=r"controller .*'random' .*got 'ppo'"):
        opened(tmp_path, "ppo")


@pytest.mark.slow
def test_a_journal_whose_last_line_is_torn_is_read(tmp_path: Path) -> None:
    """A full disk leaves such a line; Optuna alone could never read the file again."""
    before = log(run(tmp_path, "random", 3))
    with open(tmp_path / "study.journal", "ab") as file:
        file.write(b'{"op_code": 5, "worker_id": "x')
    assert log(opened(tmp_path)) == before
    assert log(run(tmp_path, "random", 4))[:3] == before


@pytest.mark.slow
def test_a_storage_url_works_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = open_study(tmp_path / "x", {}, controllers.RandomSampler(SPACE), url)
    search(study, SPACE, settings(tmp_path / "x", 3))
    assert len(optuna.load_study(study_name="x", storage=url).trials) == 3


def test_a_storage_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="storage nope://x"):
        open_study(tmp_path, {}, optuna.samplers.RandomSampler(), "nope://x")
