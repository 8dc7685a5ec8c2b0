"""The study of a run folder: its storage, what may resume it, and who is working on it.

A run folder holds ``study.journal`` (Optuna's journal, unless a storage URL is given),
``study.lock`` (held for the moments in which a worker changes the study in several steps)
and ``workers/`` (a file for each worker process, locked as long as it lives).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from controllers.errors import StudyError
from controllers.samplers import REPEATS
from search_space import NASFPNSpace, save_genome
from search_space.codec import read_document

# User attributes of trials.
WORKER = "worker"
GENOME_ID = "genome_id"
DUPLICATE_OF = "duplicate_of"
# User attribute of the study.
_IDENTITY = "identity"


def open_study(
    out: Path,
    identity: Mapping[str, Any],
    sampler: optuna.samplers.BaseSampler,
    storage: str | None = None,
) -> Study:
    """Create the study of a run folder, or go on with the one that is there.

    Args:
        out: run folder; made if it does not exist.
        identity: JSON data that must be the same whenever the study is resumed: space,
            controller, recipe, data, seed.
        sampler: the controller.
        storage: an Optuna storage URL instead of the journal; the study is then called
            after the folder.

    Raises:
        StudyError: the study there has another identity, or the storage cannot be opened.
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        study = optuna.create_study(
            storage=_journal(out / "study.journal") if storage is None else _storage(storage),
            study_name="search" if storage is None else out.resolve().name,
            direction="maximize",
            sampler=sampler,
            load_if_exists=True,
        )
        wanted = json.loads(json.dumps(identity))
        stored = study.user_attrs.get(_IDENTITY)
        if stored is None:
            study.set_user_attr(_IDENTITY, wanted)
        else:
            _check_same(stored, wanted, out)
    return study


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep the other workers of this folder from changing the study meanwhile."""
    with open(out / "study.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Presence:
    """This process's sign of life in a run folder; a context manager.

    The system gives the lock up when the process ends, however it ends.

    Attributes:
        name: unlike that of any other worker.
    """

    def __init__(self, out: Path) -> None:
        self.name = secrets.token_hex(8)
        self._folder = out / "workers"

    def __enter__(self) -> Presence:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = open(self._folder / self.name, "w")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:  # otherwise a trial may be left that must be known as abandoned
            (self._folder / self.name).unlink()
        self._file.close()

    def abandoned(self, trial: FrozenTrial) -> bool:
        """Return whether the worker of a running trial has ended.

        A worker without a file here is another machine's and said to be alive. A trial
        that nobody has claimed yet may be anybody's, so nobody else must be alive.
        """
        name = trial.user_attrs.get(WORKER)
        if name is not None:
            return (self._folder / name).exists() and not self._alive(self._folder / name)
        others = [path for path in self._folder.iterdir() if path.name != self.name]
        return not any(map(self._alive, others))

    def _alive(self, path: Path) -> bool:
        if path.name == self.name:
            return True
        with contextlib.suppress(FileNotFoundError), open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def recover(study: Study, presence: Presence) -> list[int]:
    """Fail the running trials whose worker has ended and queue each once more.

    The repetition has the same decisions. It is queued before the trial is failed, so a
    process killed in between loses nothing. Call it under :func:`locked`.

    Returns:
        The numbers of the trials to be repeated.
    """
    trials = study.get_trials(deepcopy=False)
    repeated = {trial.user_attrs.get(REPEATS) for trial in trials}
    stale = [t for t in trials if t.state == TrialState.RUNNING and presence.abandoned(t)]
    for trial in stale:
        if trial.number not in repeated:
            study.add_trial(
                create_trial(
                    state=TrialState.WAITING,
                    # Where Optuna's enqueue_trial puts them; the rest are notes of samplers.
                    system_attrs={**trial.system_attrs, "fixed_params": trial.params},
                    user_attrs={REPEATS: trial.number},
                )
            )
        study.tell(trial.number, state=TrialState.FAIL)
    return [trial.number for trial in stale]


def save_best(study: Study, space: NASFPNSpace, out: Path) -> None:
    """Write the best genome to ``best.json``, with what led to it, if it is not there yet.

    Call it under :func:`locked`; does nothing as long as no trial is complete.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not done:
        return
    best, path = study.best_trial, out / "best.json"
    if path.exists():
        _, meta = read_document(path.read_text(encoding="utf-8"))
        if (meta.get("trial"), meta.get("value")) == (best.number, best.value):
            return
    genome = space.decode({d.name: best.params[d.name] for d in space.decisions()})
    identity = study.user_attrs.get(_IDENTITY, {})
    kept = {key: identity[key] for key in ("controller", "recipe", "seed") if key in identity}
    meta = {"trial": best.number, "value": best.value, GENOME_ID: best.user_attrs.get(GENOME_ID)}
    save_genome(genome, path, {**kept, **meta})


def _storage(url: str) -> optuna.storages.BaseStorage:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return optuna.storages.get_storage(url)
    except (SQLAlchemyError, ImportError) as error:  # a bad URL, no such server, no driver
        raise StudyError(f"storage {url} cannot be opened: {error}") from error


def _journal(path: Path) -> JournalStorage:
    _drop_torn_line(path)
    return JournalStorage(JournalFileBackend(str(path)))


def _drop_torn_line(path: Path) -> None:
    """Cut off what follows the last line end: a write that a full disk broke off.

    Optuna would write on behind it and could read the file no more.
    """
    if not path.exists():
        return
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        with open(path, "rb+") as file:
            kept = file.read().rfind(b"\n") + 1
            if kept != os.fstat(file.fileno()).st_size:
                file.truncate(kept)
    finally:
        lock.release()


def _check_same(stored: Any, wanted: Any, out: Path, name: str = "") -> None:
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in sorted(stored.keys() | wanted.keys()):
            _check_same(stored.get(key), wanted.get(key), out, f"{name}.{key}".lstrip("."))
    elif stored != wanted:
        raise StudyError(
            f"a study is resumed with what it was begun with, got {name} {wanted!r} where {out} "
            f"has {stored!r}; choose another folder for another search"
        )
