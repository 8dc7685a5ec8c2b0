"""The final of a search: the best genomes and the starting points, trained again with fresh seeds.

A value of the search is that of one short training, and the best of many is mostly a lucky one. The
final trains the contenders again by the target recipe. ``contest.py`` decides who is trained next
and who leaves; this module trains, and keeps the results in a study of its own.

The study has a folder inside the run folder, ``final/HASH``, with the files of ``study.py`` and a
folder for each training. The hash is of all that a result depends on besides genome and seed, so
another recipe or dataset has another final. The study is not in the journal of the search: a
journal of one study is checked and repaired as it is, and earlier versions can still read it. In a
storage, both studies are in the same one.

A training is a trial with user attributes and without parameters. Its folder does not depend on
the number of the trial. So a training that was killed goes on from its checkpoint, and if the
journal is lost, trainings that had ended are read, not repeated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from controllers import candidate, crew
from controllers.best import conclude, save_best
from controllers.contest import Rules, Standing, standing
from controllers.errors import SearchError
from controllers.placing import Placing, conclusion, places, seed_of
from controllers.starts import Contender, contenders
from controllers.study import GENOME_ID, WORKER, Presence, locked, open_study
from controllers.view import Silent, View, watcher
from controllers.worker import EVALUATE, Job, ProxyWorker
from nasfpn_runtime.files import locked as file_locked
from search_space import SearchSpace, to_json
from search_space.names import path_fault, shown

ROUND = "round"  # user attributes of trials, besides those of ``study.py``
ERROR = "error"

Task: TypeAlias = tuple[str, int]  # id of a genome, and a round


@dataclass(frozen=True)
class FinalSettings:
    """What a final trains, and how long it goes on.

    Attributes:
        out: run folder of the search.
        arguments: what each training gets besides ``genome``, ``out`` and its own ``seed``, see
            ``candidate.prepare``. Its ``seed`` is that of the search: round N has that plus N.
        best: number of contenders to take by their value in the search.
        rules: how long the race goes on.
        storage: URL of the storage with the study of the search; None for journals.
        evaluate, metric: see ``search.SearchSettings``.
        workers: number of trainings at a time, see ``crew.run``.
    """

    out: Path
    arguments: Mapping[str, Any]
    best: int = 5
    rules: Rules = field(default_factory=Rules)
    storage: str | None = None
    evaluate: str = EVALUATE
    metric: str = "AP"
    workers: int = 1

    @property
    def identity(self) -> dict[str, Any]:
        """All that a result depends on besides genome and round, as JSON data."""
        of: dict[str, Any] = candidate.settings_and_data(self.arguments)
        return {**of, "seed": self.arguments["seed"], "metric": self.metric}

    @property
    def folder(self) -> Path:
        """The folder of the final in the run folder."""
        text = json.dumps(self.identity, sort_keys=True)
        return self.out / "final" / hashlib.sha256(text.encode()).hexdigest()[:8]


class Final:
    """The final of a search, in one of the processes that share it.

    Args:
        study: the study of the search.
        space: what it searches.
        settings: what to train, and how long.
        repair: see ``journal.open_journal``.

    Raises:
        StudyError: the journal of the final is damaged, or the storage cannot be opened.
    """

    def __init__(
        self,
        study: Study,
        space: SearchSpace,
        settings: FinalSettings,
        repair: Callable[[str], None] | None = None,
    ) -> None:
        self.study, self.space, self.settings = study, space, settings
        self.folder, self._waiting = settings.folder, False
        self._left: set[str] = set()  # contenders that were said to have left
        self.trainings = open_study(
            self.folder,
            settings.identity,
            optuna.samplers.RandomSampler(),
            settings.storage,
            repair,
            name=f"{study.study_name}-final-{self.folder.name}",
        )

    def standing(self) -> tuple[list[Contender], Standing]:
        """Return the contenders that the search has now, and where their race is."""
        found = contenders(self.study, self.space, self.settings.best)
        starts = {contender.identity for contender in found if contender.start}
        names = [contender.identity for contender in found]
        return found, standing(names, starts, self.results(), self.settings.rules)

    def results(self) -> dict[str, dict[int, float | None]]:
        """Return the values of all trainings that have ended, by genome and round.

        A failed trial without an error was interrupted, and says nothing.
        """
        results: dict[str, dict[int, float | None]] = {}
        for trial in self.trainings.get_trials(deepcopy=False):
            task = _task(trial)
            failed = trial.state == TrialState.FAIL and ERROR in trial.user_attrs
            if task is not None and (failed or trial.state == TrialState.COMPLETE):
                results.setdefault(task[0], {}).setdefault(task[1], trial.value)
        return results

    def run(self, view: View | None = None) -> Placing | None:
        """Train until the race has ended, and record the result in the study of the search.

        Several processes may do so on one final. A training that was interrupted goes on.

        Returns:
            The result; None if not even one round was trained: every contender has failed, or
            more trainings are needed than the rules allow.

        Raises:
            SearchError: a training has raised a SearchError.
        """
        view = view or Silent()

        def work(worker: ProxyWorker) -> None:
            with Presence(self.folder) as presence:
                while self._train_next(presence, worker, view):
                    pass

        crew.run(self.settings.workers, work)
        found, state = self.standing()
        if not state.rounds or not state.inside:
            return None
        placing = places(found, state, self.results(), self.settings.rules)
        result = conclusion(placing, self.settings.arguments)
        with locked(self.settings.out):
            conclude(self.study, self.settings.best, found, result)
            save_best(self.study, self.space, self.settings.out)
        return placing

    def _train_next(self, presence: Presence, worker: ProxyWorker, view: View) -> bool:
        """Make one training, or wait for other processes; return False at the end of the race."""
        with locked(self.folder):
            self._release(presence, view)
            found, state = self.standing()
            view.expect(state.most)
            for contender in found:
                if contender.identity in state.left.keys() - self._left:
                    view.note(f"{shown(contender.name)} is clearly worse and leaves the final")
            self._left |= state.left.keys()
            if not state.needed:
                return False
            running = self._running()
            task = _free(state, {_task(trial): presence.alive(trial) for trial in running})
            trial = None if task is None else self._claim(task, presence)
        if task is None or trial is None:
            self._wait(running, presence, worker, view)
            return True
        contender = next(each for each in found if each.identity == task[0])
        self._train(trial, contender, task[1], worker, view)
        return True

    def _release(self, presence: Presence, view: View) -> None:
        """End the trials of processes that have died; their trainings are needed again."""
        for trial in self._running():
            if presence.abandoned(trial):
                self.trainings.tell(trial.number, state=TrialState.FAIL)
                view.note(f"final: training {trial.number} was interrupted and will go on")

    def _claim(self, task: Task, presence: Presence) -> Trial:
        trial = self.trainings.ask()
        trial.set_user_attr(WORKER, presence.name)
        trial.set_user_attr(GENOME_ID, task[0])
        trial.set_user_attr(ROUND, task[1])
        return trial

    def _wait(
        self, running: Sequence[FrozenTrial], presence: Presence, worker: ProxyWorker, view: View
    ) -> None:
        """Wait until one of these trainings, which other processes make, has ended."""
        if not self._waiting:
            view.note("final: waiting for the trainings of another process")
        self._waiting = True
        before = [trial.number for trial in running]
        while before == [t.number for t in self._running() if not presence.abandoned(t)]:
            worker.pause()

    def _train(
        self, trial: Trial, contender: Contender, number: int, worker: ProxyWorker, view: View
    ) -> None:
        self._waiting = False
        name = contender.name if not path_fault(contender.name) else "start"
        folder = self.folder / f"{name.replace(' ', '-')}-{contender.identity[:8]}"
        folder = folder / f"seed{seed_of(self.settings.arguments, number)}"
        folder.mkdir(parents=True, exist_ok=True)
        shown_name = f"{shown(contender.name)}, round {number}"
        with file_locked(folder / ".lock", lambda: view.note(f"waiting for the end of {folder}")):
            pass  # the child of a process that was killed may live on for some seconds
        arguments = {
            **self.settings.arguments,
            "seed": seed_of(self.settings.arguments, number),
            "genome": to_json(contender.genome),
            "out": str(folder),
        }
        job = Job(self.settings.evaluate, arguments, folder / "log")
        outcome = worker.evaluate(job, None, watcher(view, trial.number, shown_name))
        if outcome.stop:
            raise SearchError(f"cannot train {folder}: {outcome.error}")
        value, error = outcome.value(self.settings.metric)
        with locked(self.folder):
            trial.set_user_attr("seconds", round(outcome.seconds, 3))
            if value is None:
                trial.set_user_attr(ERROR, error)
                self.trainings.tell(trial, state=TrialState.FAIL)
            else:
                self.trainings.tell(trial, value)
        seconds = f"after {outcome.seconds:.0f} s"
        if value is None:
            view.note(f"{shown_name} failed {seconds} and leaves the final: {error}")
        else:
            view.note(f"{shown_name}: value {value:.4f} {seconds}")
        view.advance()

    def _running(self) -> list[FrozenTrial]:
        return self.trainings.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def _task(trial: FrozenTrial) -> Task | None:
    """Return the id of the genome and the round of a trial; None if it does not say them."""
    attributes = trial.user_attrs
    known = GENOME_ID in attributes and ROUND in attributes
    return (attributes[GENOME_ID], attributes[ROUND]) if known else None


def _free(state: Standing, running: Mapping[Task | None, bool]) -> Task | None:
    """Return a training that is needed and that nobody makes; None if there is none.

    What another machine is training may be trained here, too, if nothing else is left: it is not
    known whether that machine is still alive.

    Args:
        state: where the race is.
        running: what is being trained, and whether a process of this folder does it.
    """
    free = [task for task in state.needed if task not in running]
    return next(iter([*free, *(task for task in state.needed if not running.get(task))]), None)
