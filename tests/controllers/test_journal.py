"""Damaged journals of studies: named by file and line, and repaired only if asked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.study import Study
from optuna.trial import TrialState

from controllers.errors import StudyError
from controllers.journal import open_journal
from controllers.ladder import climbed
from controllers.samplers import REPEATS
from controllers.search import search
from controllers.study import Presence, locked, recover
from search_space import load_genome
from searches import log, opened, run, settings
from synthetic import SPACE

TRIALS = 4
Lines = list[bytes]


def first_trial_line(lines: Lines, trial: int) -> int:
    """Return the index of the first line about a trial."""
    return next(i for i, line in enumerate(lines) if json.loads(line).get("trial_id") == trial)


def nuls(lines: Lines) -> Lines:
    return [b"\0" * len(b"\n".join(lines))]


def nuls_at_the_end(lines: Lines) -> Lines:
    end = first_trial_line(lines, 3)
    return [*lines[:end], b"\0" * 500]


def without_the_first(lines: Lines) -> Lines:
    return lines[1:]


def without_the_first_trial(lines: Lines) -> Lines:
    return lines[first_trial_line(lines, 1) :]


def torn_in_the_middle(lines: Lines) -> Lines:
    torn = first_trial_line(lines, 1) + 2
    return [*lines[:torn], lines[torn][:30], *lines[torn + 1 :]]


def garbage_in_the_middle(lines: Lines) -> Lines:
    place = first_trial_line(lines, 2) + 1
    return [*lines[:place], b"\xff\x00garbage", *lines[place:]]


def another_value(lines: Lines) -> Lines:
    place = first_trial_line(lines, 1)
    return [*lines[:place], b"[1, 2]", *lines[place + 1 :]]


def without_the_start_of_the_last_trial(lines: Lines) -> Lines:
    start = first_trial_line(lines, 3) - 1
    return lines[:start] + lines[start + 1 :]


def without_the_last_trial(lines: Lines) -> Lines:
    return lines[: first_trial_line(lines, 3) - 1]


def without_what_it_is_of(lines: Lines) -> Lines:
    return [line for line in lines if b'"identity"' not in line]


def without_a_parameter(lines: Lines) -> Lines:
    place = first_trial_line(lines, 1)
    place = next(i for i in range(place, len(lines)) if b"param_name" in lines[i])
    return lines[:place] + lines[place + 1 :]


# What happens to the lines of a study of four trials, the line that is named, and the numbers of
# the trials that can be read completely.
DAMAGE: dict[Callable[[Lines], Lines], tuple[str, set[int]]] = {
    nuls: ("line 1 ", set()),
    nuls_at_the_end: ("line ", {0, 1, 2}),
    without_the_first: ("line 1 ", {0, 1, 2, 3}),
    without_the_first_trial: ("line 1 ", {1, 2, 3}),
    torn_in_the_middle: ("line ", {0, 2, 3}),
    garbage_in_the_middle: ("line ", {0, 1, 2, 3}),
    another_value: ("line ", {0, 1, 2, 3}),
    without_the_start_of_the_last_trial: ("line ", {0, 1, 2, 3}),
    without_the_last_trial: ("", {0, 1, 2}),
    without_what_it_is_of: ("", {0, 1, 2, 3}),
    without_a_parameter: ("", {0, 2, 3}),
}


def damaged(out: Path, damage: Callable[[Lines], Lines]) -> bytes:
    """Search for a few trials, damage the journal, and return what is in it then."""
    run(out, "random", TRIALS)
    journal = out / "study.journal"
    lines = damage(journal.read_bytes().splitlines())
    journal.write_bytes(b"".join(line + b"\n" for line in lines))
    return journal.read_bytes()


def complete(study: Study) -> dict[int, tuple[object, object]]:
    done = study.get_trials(states=(TrialState.COMPLETE,))
    return {trial.number: (trial.params, trial.value) for trial in done}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_and_repaired_only_if_asked(
    tmp_path: Path, damage: Callable[[Lines], Lines]
) -> None:
    before = complete(run(tmp_path / "intact", "random", TRIALS))
    out, journal = tmp_path / "out", tmp_path / "out" / "study.journal"
    content = damaged(out, damage)
    line, readable = DAMAGE[damage]
    with pytest.raises(StudyError, match=rf"{line}.*{journal}.*--repair-study"):
        opened(out)
    assert journal.read_bytes() == content
    reports: list[str] = []
    study = opened(out, repair=reports.append)
    assert complete(study) == {number: before[number] for number in readable}
    (report,) = reports
    assert f"kept {len(readable)} of" in report
    assert (out / "study.journal.damaged-1").read_bytes() == content
    search(study, SPACE, settings(out, TRIALS + 2))
    again = opened(out, repair=reports.append)  # nothing is left to repair
    assert len(reports) == 1
    assert len(complete(again)) == TRIALS + 2
    assert load_genome(out / "best.json") == SPACE.decode(again.best_params)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 0)])
def test_a_journal_that_is_gone_is_missed(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    run(tmp_path, "random", 2)
    damage(tmp_path / "study.journal")
    with pytest.raises(StudyError, match=r"study\.journal is (missing|empty).*--repair-study"):
        opened(tmp_path)
    reports: list[str] = []
    assert opened(tmp_path, repair=reports.append).trials == []
    assert "kept 0 of 0 trials" in reports[0]
    # The folders of the earlier trials do not get in the way of new trials of these numbers.
    assert {path.name for path in (tmp_path / "trials").iterdir()} == {
        "0.damaged-1",
        "1.damaged-1",
    }


def test_a_repaired_study_keeps_failures_and_repetitions(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.ask()
    with Presence(tmp_path) as presence, locked(tmp_path):
        recover(study, presence)
    search(study, SPACE, settings(tmp_path, 3))
    before = log(study)
    journal = tmp_path / "study.journal"
    journal.write_bytes(journal.read_bytes() + b"\0\n")
    repaired = opened(tmp_path, repair=lambda report: None)
    assert log(repaired) == before
    assert repaired.trials[1].user_attrs[REPEATS] == 0


def test_a_study_that_has_just_been_started_is_not_damaged(tmp_path: Path) -> None:
    opened(tmp_path)
    opened(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "study.journal").touch()
    opened(tmp_path / "empty")
    assert open_journal(tmp_path / "other.journal").get_all_studies() == []


def test_a_value_of_a_rung_that_is_lost_is_noticed_and_the_others_are_kept(tmp_path: Path) -> None:
    """Each line with the value of a rung is lost in turn."""
    rungs = {"short": {}, "middle": {"add": 1}, "long": {"add": 2}}
    study = run(tmp_path, "random", 5, rungs=rungs)
    before = {t.number: (t.state, t.value, t.params, climbed(t)) for t in study.trials}
    assert {len(climbed(trial)) for trial in study.trials} == {1, 3}
    journal = tmp_path / "study.journal"
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    reports = [i for i, line in enumerate(lines) if b'"intermediate_value"' in line]
    assert len(reports) == sum(len(values) for *_, values in before.values())
    for place in reports:
        number, step = (json.loads(lines[place])[key] for key in ("trial_id", "step"))
        journal.write_bytes(b"".join(lines[:place] + lines[place + 1 :]))
        rung = {1: "short", 3: "middle", 9: "long"}[step]
        with pytest.raises(StudyError, match=rf"trial {number}, .* rung {rung};.*--repair-study"):
            opened_on(tmp_path, rungs)
        repaired = opened_on(tmp_path, rungs, repair=lambda report: None)
        kept = {
            t.number: (t.state, t.value, t.params, climbed(t))
            for t in repaired.trials
            if t.state != TrialState.FAIL
        }
        assert kept == {key: value for key, value in before.items() if key != number}
    journal.write_bytes(whole)
    opened_on(tmp_path, rungs)


def opened_on(out: Path, rungs: dict[str, Any], **options: Any) -> Study:
    ladder = {"rungs": list(rungs), "recipes": {}, "factor": 3}
    return opened(out, ladder=ladder, **options)
