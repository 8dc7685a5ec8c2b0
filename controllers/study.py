"""The study of a run folder: its storage, its identity, and the processes that work on it.

A run folder contains ``study.journal`` (Optuna's journal, unless a storage URL is given),
``study.lock`` (locked while a process changes the study in several steps) and ``workers/``
(a file for each process that searches, locked as long as the process lives).

The locks are ``flock``'s, unlike ``nasfpn_runtime.files.locked``, which uses ``lockf``. Locks of
``lockf`` belong to the process: two threads that search would not exclude each other, and a
process that opens and closes a lock file, as ``Presence.abandoned`` does, would lose its own lock
on it. Locks of ``flock`` belong to the open file and are inherited by forked children, which may
outlive the process. Nothing is forked here: the process that trains is started by subprocess,
which closes all other files in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from controllers.errors import StudyError
from controllers.identity import check_same
from controllers.journal import IDENTITY, STUDY, open_journal
from controllers.ladder import climbed
from controllers.samplers import REPEATS
from search_space.errors import mask_secrets
from search_space.rules import json_integer

# User attributes of trials.
WORKER = "worker"
GENOME_ID = "genome_id"
DUPLICATE_OF = "duplicate_of"
KNOWN = "rung_values"  # values of the rungs that a repeated trial has climbed, see ``ladder.py``
AGAIN = "again"  # of a trial that trains a known genome again: how many others had trained it
START = "start"  # name of a starting point, see ``starts.py``

PASSED = "completed_rung_"  # starts system attributes in which Optuna's pruner counts rungs
FIXED = "fixed_params"  # system attribute of queued trials, in which Optuna keeps their decisions


def open_study(
    out: Path,
    identity: Mapping[str, Any],
    sampler: optuna.samplers.BaseSampler,
    storage: str | None = None,
    repair: Callable[[str], None] | None = None,
    name: str | None = None,
) -> Study:
    """Create the study of a run folder, or open the one that is there.

    Args:
        out: run folder; created if missing.
        identity: JSON data that must be the same whenever the study is resumed, such as what
            ``identity.identify`` returns.
        sampler: the controller.
        storage: an Optuna storage URL to use instead of the journal.
        repair: see ``journal.open_journal``.
        name: name of the study in a storage; by default that of the folder.

    Raises:
        StudyError: the study there has another identity, or the storage cannot be opened, or its
            journal is damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        study = optuna.create_study(
            storage=open_journal(out / "study.journal", repair)
            if storage is None
            else _open_storage(storage),
            study_name=STUDY if storage is None else name or out.resolve().name,
            direction="maximize",
            sampler=sampler,
            load_if_exists=True,
        )
        given = json.loads(json.dumps(identity, default=json_integer))
        stored = study.user_attrs.get(IDENTITY)
        if stored is None:
            study.set_user_attr(IDENTITY, given)
        else:
            check_same(stored, given, out)
    return study


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the lock of a run folder: meanwhile no other process or thread changes its study."""
    with open(out / "study.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Presence:
    """Shows the other processes of a run folder that this one is alive; a context manager.

    It holds a lock, which the system releases when the process ends, even if it is killed.

    Attributes:
        name: random name of this process, unique in the folder.
    """

    def __init__(self, out: Path) -> None:
        self.name = secrets.token_hex(8)
        self._folder = out / "workers"
        self._file: TextIO | None = None

    def __enter__(self) -> Presence:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = open(self._folder / self.name, "w", encoding="utf-8")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error the file stays, so that others see that its trial was abandoned.
        if error is None:
            (self._folder / self.name).unlink()
        assert self._file is not None
        self._file.close()

    def abandoned(self, trial: FrozenTrial) -> bool:
        """Return whether the process that works on a running trial has ended.

        A process without a file in the folder is taken to be alive on another machine. A trial
        without the name of a process may belong to any of them, so it is abandoned only if no
        other process is alive.
        """
        name = trial.user_attrs.get(WORKER)
        if name is not None:
            return (self._folder / name).exists() and not self._is_locked(self._folder / name)
        others = [path for path in self._folder.iterdir() if path.name != self.name]
        return not any(map(self._is_locked, others))

    def alive(self, trial: FrozenTrial) -> bool:
        """Return whether a process of this folder lives that works on a running trial."""
        name = trial.user_attrs.get(WORKER)
        return name is not None and self._is_locked(self._folder / name)

    def _is_locked(self, path: Path) -> bool:
        if path.name == self.name:
            return True
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def recover(study: Study, presence: Presence) -> list[int]:
    """Mark trials whose process has ended as failed, and queue each of them again.

    The repetition makes the same decisions, also those that were fixed when the trial was queued
    and that it had not been asked for. It keeps the values of the rungs of a ladder that the trial
    has climbed; whether it goes on is decided again. It is queued before the trial is marked, so a
    kill in between loses nothing. Call this while holding :func:`locked`.

    Returns:
        The numbers of the trials that will be repeated.
    """
    trials = study.get_trials(deepcopy=False)
    repeated = {trial.user_attrs.get(REPEATS) for trial in trials}
    stale = [t for t in trials if t.state == TrialState.RUNNING and presence.abandoned(t)]
    for trial in stale:
        if trial.number not in repeated:
            fixed = {**trial.system_attrs.get(FIXED, {}), **trial.params}
            notes = {k: v for k, v in trial.system_attrs.items() if not k.startswith(PASSED)}
            known = max(climbed(trial), trial.user_attrs.get(KNOWN, []), key=len)
            study.add_trial(
                create_trial(
                    state=TrialState.WAITING,
                    # As Optuna's enqueue_trial does; the other attributes are notes of samplers.
                    system_attrs={**notes, FIXED: fixed},
                    user_attrs={REPEATS: trial.number, **({KNOWN: known} if known else {})},
                )
            )
        study.tell(trial.number, state=TrialState.FAIL)
    return [trial.number for trial in stale]


def trained(study: Study) -> list[FrozenTrial]:
    """Return the trials in which a genome was trained: complete and pruned ones but duplicates.

    A genome is trained more than once if the controller wants that (``SpaceSampler.repeats``).
    """
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    done = study.get_trials(deepcopy=False, states=states)
    return [trial for trial in done if DUPLICATE_OF not in trial.user_attrs]


def _open_storage(url: str) -> optuna.storages.BaseStorage:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return optuna.storages.get_storage(url)
    except (SQLAlchemyError, ImportError) as error:  # a bad URL, no such server, no driver
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise StudyError(mask_secrets(f"cannot open storage {url}: {reason}")) from error
