"""The journal of a study: Optuna's file of one JSON object a line, its checks, and its repair.

Optuna takes a journal without its first line for an empty one, and stops at a line that it cannot
read with an error that names neither file nor line. So a journal is checked before Optuna opens it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import json_to_distribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from controllers.errors import StudyError
from search_space.files import atomic_write

STUDY = "search"  # name of the study in a journal
IDENTITY = "identity"  # user attribute of the study: what it is of, see ``identity.identify``
LOST = "lost in a damaged journal"  # user attribute ``error`` of trials that could not be read
_CREATE_STUDY, _CREATE_TRIAL = 0, 4  # operations of Optuna's journals


def open_journal(path: Path, repair: Callable[[str], None] | None = None) -> JournalStorage:
    """Open the journal of a study, or start one if there is none.

    An incomplete last line, which a full disk leaves behind, is removed.

    Args:
        repair: if the journal is damaged, keep it under another name beside it, write one with
            the trials that can be read, and call this function with a line about it. Other
            trials count as failed. Folders of trials that the new journal does not have are
            renamed. None to refuse a damaged journal.

    Raises:
        StudyError: the journal is damaged, or missing though there are files of its trials.
    """
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        damage = _damage(path)
        if damage is not None and repair is None:
            raise StudyError(
                f"cannot read the study: {damage}; restore the file, or run `nasfpn search` with "
                "the same options and --repair-study, which keeps a copy of the file and the "
                "trials that can be read"
            )
        if damage is not None and repair is not None:
            repair(f"{damage}: {_repair(path)}")
    finally:
        lock.release()
    return JournalStorage(JournalFileBackend(str(path)))


def _damage(path: Path) -> str | None:
    """Return what is wrong with a journal, or None. Remove an incomplete last line."""
    content = path.read_bytes() if path.exists() else b""
    if not content:
        trials = path.parent / "trials"
        state = "is empty" if path.exists() else "is missing"
        return f"{path} {state}, but {trials} has trials" if any(trials.glob("*")) else None
    *lines, last = content.split(b"\n")
    if b"\0" in last or (last and not lines):
        lines.append(last)  # a crash of the system leaves NULs; an empty study has a whole line
    elif last:
        os.truncate(path, len(content) - len(last))
    backend = _Lines(lines)
    try:
        storage = JournalStorage(backend)
        lost = _lost_lines(
            storage.get_all_trials(0, deepcopy=False), storage.get_study_user_attrs(0)
        )
    # All errors: which one Optuna raises depends on what is damaged.
    except Exception as error:
        reason = str(error) if isinstance(error, StudyError) else repr(error)
        return f"line {backend.number} of {path} {reason}"
    if lost:
        return f"{path} {lost}"
    folders = [folder.name for folder in (path.parent / "trials").glob("*")]
    numbers = [int(name) for name in folders if name.isdecimal()]
    newest = max(numbers, default=-1)
    if newest >= backend.trials:  # the folder of a trial is made after its first line is written
        return f"{path} ends before trial {newest}, of which {path.parent / 'trials'} has files"
    return None


def _lost_lines(trials: Sequence[FrozenTrial], attributes: Mapping[str, Any]) -> str | None:
    """Return what a journal without its lost lines lacks; each of its lines can be read."""
    if trials and IDENTITY not in attributes:
        return "lacks the line that says which search it is of"
    complete = [
        trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    ]
    names = {name for trial in complete for name in trial.params}
    for trial in complete:
        if missing := sorted(names - trial.params.keys()):
            return f"lacks a line of trial {trial.number}, with its parameter {missing[0]}"
        if (lost := _lost_rung(trial, attributes)) is not None:
            return f"lacks a line of trial {trial.number}, with its value on rung {lost}"
    return None


def _lost_rung(trial: FrozenTrial, attributes: Mapping[str, Any]) -> str | None:
    """Return the name of a rung of a ladder of which a trial that has ended lacks the value."""
    match attributes:
        case {"identity": {"ladder": {"rungs": [*rungs], "factor": int(factor)}}}:
            reports = trial.intermediate_values
            least = len(rungs) if trial.state == TrialState.COMPLETE else 1
            # The value of a trial is its last report.
            count = len(reports) + (not reports or reports[max(reports)] != trial.value)
            count = max(least, count)
            steps = ((factor**number, name) for number, name in enumerate(rungs[:count]))
            lost = (str(name) for step, name in steps if step not in reports)
            return next(lost, None)
    return None


class _Lines(BaseJournalBackend):
    """The lines of a journal, as Optuna reads them.

    Attributes:
        number: number of the line that was read last.
        trials: number of trials in the lines so far.
    """

    def __init__(self, lines: Sequence[bytes]) -> None:
        self.lines, self.number, self.trials = lines, 0, 0

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the entries from that number on, counted from 0; Optuna reads each of them once.

        Raises:
            StudyError: a line is not an entry, or an earlier line must be missing.
        """
        for number, line in enumerate(self.lines[log_number_from:], start=log_number_from + 1):
            self.number = number
            entry = _read_entry(line)
            if entry is None:
                raise StudyError("is not an entry of a journal" + (", but NULs" * (b"\0" in line)))
            if number == 1 and (entry["op_code"], entry.get("study_name")) != (
                _CREATE_STUDY,
                STUDY,
            ):
                raise StudyError("is not the first of a journal: the lines before are missing")
            if entry.get("trial_id", 0) >= max(self.trials, 1):
                raise StudyError(f"is about trial {entry['trial_id']}, whose first line is missing")
            self.trials += entry["op_code"] == _CREATE_TRIAL
            yield entry

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Do nothing: this is for reading only."""


def _read_entry(line: bytes) -> dict[str, Any] | None:
    """Return the entry of a line of a journal, or None if it is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    known = isinstance(entry, dict) and isinstance(entry.get("op_code"), int)
    return entry if known and isinstance(entry.get("trial_id", 0), int) else None


@dataclass
class _Remains:
    """What can be read about a trial."""

    state: TrialState | None = None
    values: list[float] | None = None
    params: dict[str, Any] = field(default_factory=dict)
    distributions: dict[str, Any] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add what an entry says about the trial."""
        match entry:
            case {"param_name": name, "param_value_internal": value, "distribution": distribution}:
                self.distributions[name] = json_to_distribution(distribution)
                self.params[name] = self.distributions[name].to_external_repr(value)
            case {"op_code": 6, "state": state, "values": values}:
                self.state, self.values = TrialState(state), values
            case {"step": step, "intermediate_value": value}:
                self.reports[step] = value
            case {"user_attr": attributes}:
                self.user_attrs |= attributes
            case {"system_attr": attributes}:
                self.system_attrs |= attributes
            case {"op_code": 4, "user_attrs": user, "system_attrs": system}:
                self.user_attrs, self.system_attrs = dict(user), dict(system)

    def trial(self, names: set[str], attributes: Mapping[str, Any]) -> FrozenTrial:
        """Return the trial; a failed one if it lacks its end, a parameter or the value of a rung.

        Args:
            names: of the parameters.
            attributes: of the study.
        """
        state = self.state
        with_value = state in (TrialState.COMPLETE, TrialState.PRUNED) and self.values
        ended = state == TrialState.FAIL or with_value
        if state is None or not ended or self.params.keys() != names:
            return create_trial(state=TrialState.FAIL, user_attrs={"error": LOST})
        trial = create_trial(
            state=state,
            values=self.values,
            params=self.params,
            distributions=self.distributions,
            user_attrs=self.user_attrs,
            system_attrs=self.system_attrs,
            intermediate_values=self.reports,
        )
        lost = with_value and _lost_rung(trial, attributes) is not None
        return create_trial(state=TrialState.FAIL, user_attrs={"error": LOST}) if lost else trial


def _repair(path: Path) -> str:
    """Replace a damaged journal by one with all that can be read; return what was kept."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    attributes: dict[str, Any] = {}  # of the study
    trials: dict[int, _Remains] = {}
    created = 0
    in_order = True  # whether the number of each trial that is created is known
    for line in lines:
        entry = _read_entry(line)
        if entry is None or (line is lines[0] and entry["op_code"] != _CREATE_STUDY):
            in_order = False
        if entry is None:
            continue
        number = entry.get("trial_id", created if in_order else None)
        if entry["op_code"] == _CREATE_TRIAL:
            created += 1
        elif "trial_id" not in entry:
            attributes |= entry.get("user_attr", {})
            continue
        # A trial has many lines, so a larger number is damage.
        if number is not None and 0 <= number < len(lines):
            in_order = in_order and number < created
            with contextlib.suppress(KeyError, TypeError, ValueError):
                trials.setdefault(number, _Remains()).add(entry)
    names = max((set(remains.params) for remains in trials.values()), key=len, default=set())
    every = [
        trials.get(number, _Remains()).trial(names, attributes)
        for number in range(max(trials, default=-1) + 1)
    ]
    kept = [trial for trial in every if trial.user_attrs.get("error") != LOST]
    for folder in list((path.parent / "trials").glob("*")):
        if folder.name.isdecimal() and int(folder.name) >= len(every):
            folder.rename(_free(folder))
    copy = ""
    if lines:
        copy = f"; the damaged file is kept as {_free(path)}"
        with atomic_write(_free(path)) as draft:
            shutil.copy2(path, draft)
    with atomic_write(path) as draft:
        storage = JournalStorage(JournalFileBackend(str(draft)))
        new = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize")
        for key, value in attributes.items():
            new.set_user_attr(key, value)
        new.add_trials(every)
    return f"kept {len(kept)} of {len(every)} trials{copy}"


def _free(path: Path) -> Path:
    """Return a path beside a damaged file or folder under which it can be kept."""
    names = (path.with_name(f"{path.name}.damaged-{n}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())
