"""The search: ask for a genome, train it unless it is known, tell its value to the controller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from controllers import crew
from controllers.best import save_best
from controllers.errors import SearchError
from controllers.halving import FirstRung, climbing
from controllers.ladder import Ladder, on_rung, rung_name
from controllers.placing import seed_of
from controllers.samplers import SpaceSampler, suggest
from controllers.starts import contenders
from controllers.study import (
    AGAIN,
    DUPLICATE_OF,
    GENOME_ID,
    KNOWN,
    START,
    WORKER,
    Presence,
    locked,
    recover,
    trained,
)
from controllers.trainings import Rung
from controllers.view import Silent, View, watcher
from controllers.worker import EVALUATE, Job, ProxyWorker
from search_space import Genome, SearchSpace, genome_id, save_genome, to_json


@dataclass(frozen=True)
class SearchSettings:
    """What a search does with each genome, and when it ends.

    Attributes:
        out: run folder; the files of trial N are in ``trials/N``.
        trials: number of trainings, counting all processes and all earlier runs of the study.
            Duplicates and failed trials do not count.
        arguments: what each candidate gets besides ``genome`` and ``out``.
        ladder: rungs with arguments of their own, in place of ``arguments``; None for a search
            that trains each genome once.
        evaluate: ``module:function`` that scores a candidate (see ``worker.Job``); by default
            ``candidate.evaluate``.
        metric: name of the metric to maximise.
        timeout: seconds after which a candidate has failed.
        duplicates: number of known genomes, proposed in a row, after which the search ends:
            the controller has converged, or the space is used up.
        failures: number of candidates, failed in a row, after which the search stops.
        workers: number of genomes to train at a time, see ``crew.run``.
        wait: at the end, wait for the trials of other processes in this run folder, and repeat
            those whose process dies. A final needs all values.
    """

    out: Path
    trials: int
    arguments: Mapping[str, Any]
    evaluate: str = EVALUATE
    metric: str = "AP"
    timeout: float | None = None
    duplicates: int = 200
    failures: int = 5
    workers: int = 1
    wait: bool = False
    ladder: Ladder | None = None

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The rungs; without a ladder one, without a name."""
        return (Rung("", self.arguments),) if self.ladder is None else self.ladder.rungs


def search(
    study: Study, space: SearchSpace, settings: SearchSettings, view: View | None = None
) -> None:
    """Search until as many genomes are trained as the settings say.

    Several processes may do so on one study. If a process is interrupted or killed, the process
    that searches next repeats its trial, and writes ``best.json`` again if need be.

    Args:
        study: see ``study.open_study``.
        space: what to search.
        settings: what to do with each genome, and when to end.
        view: what shows how the search is going; None shows nothing.

    Raises:
        SearchError: ``settings.failures`` candidates in a row have failed, or one has raised a
            SearchError.
    """
    view = view or Silent()
    if settings.ladder is not None:
        study = climbing(study, settings.ladder)
    with locked(settings.out):
        if save_best(study, space, settings.out):
            view.note(f"{settings.out / 'best.json'} did not agree with the study: written again")

    def work(worker: ProxyWorker) -> None:
        with Presence(settings.out) as presence:
            _Loop(study, space, settings, presence, worker, view).run()

    crew.run(settings.workers, work)


@dataclass
class _Loop:
    study: Study
    space: SearchSpace
    settings: SearchSettings
    presence: Presence
    worker: ProxyWorker
    view: View
    duplicates: int = 0
    failures: Counter[int] = field(default_factory=Counter)  # in a row, by the number of the rung

    def run(self) -> None:
        self._train()
        while self.settings.wait and self._wait():
            self._train()

    def _wait(self) -> bool:
        """Wait for the other processes of this run folder; return whether one of them has died."""
        told = False
        while True:
            with locked(self.settings.out):
                running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            if any(map(self.presence.abandoned, running)):
                self.duplicates = 0  # the trial is to be repeated in any case
                return True
            others = [trial.number for trial in running if self.presence.alive(trial)]
            if not others:  # those of other machines may have died unseen
                return False
            if not told:
                self.view.note(f"waiting for trial {others[0]}, which another process trains")
                told = True
            self.worker.pause()

    def _train(self) -> None:
        while (candidate := self._next()) is not None:
            trial, genome = candidate
            known = trial.user_attrs.get(KNOWN, ())  # what the trial had that this one repeats
            number, goes_on = 0, True
            while goes_on:
                if number < len(known):
                    goes_on = self._tell(trial, number, known[number], "was known")
                else:
                    goes_on = self._evaluate(trial, genome, number)
                number += 1

    def _evaluate(self, trial: Trial, genome: Genome, number: int) -> bool:
        """Train a genome on a rung; return whether it goes on to the next one."""
        rung = self.settings.rungs[number]
        name = f"trial {trial.number}{on_rung(rung.name)}"
        job, watch = self._job(trial, genome, rung), watcher(self.view, trial.number, name)
        outcome = self.worker.evaluate(job, self.settings.timeout, watch)
        if outcome.stop:  # the trial is repeated when the search is resumed
            raise SearchError(f"cannot train {name}: {outcome.error}")
        value, error = outcome.value(self.settings.metric)
        after = f"after {outcome.seconds:.0f} s"
        trial.set_user_attr("seconds", round(outcome.seconds, 3))
        if value is not None:
            self.failures[number] = 0
            trial.set_user_attr("metrics", dict(outcome.metrics or {}))
            return self._tell(trial, number, value, after)
        self.failures[number] += 1
        trial.set_user_attr("error", error)
        with locked(self.settings.out):
            # What fails on a higher rung keeps its values of those below.
            self.study.tell(trial, state=TrialState.PRUNED if number else TrialState.FAIL)
            save_best(self.study, self.space, self.settings.out)
        self.view.note(f"{name} failed {after}: {error}")
        if number:
            self.view.advance()
        if self.failures[number] >= self.settings.failures:
            raise SearchError(
                f"{self.failures[number]} candidates in a row failed{on_rung(rung.name)}, the last "
                f"with {error!r}; see {job.log}"
            )
        return False

    def _tell(self, trial: Trial, number: int, value: float, after: str) -> bool:
        """Record the value of a rung; return whether the trial goes on to the next one."""
        rungs = self.settings.rungs
        with locked(self.settings.out):
            goes_on = self._goes_on(trial, number, value)
            if not goes_on:
                save_best(self.study, self.space, self.settings.out)
                best = contenders(self.study, self.space, 1)[0]
        again = trial.user_attrs.get(AGAIN)
        which = f" (training {again + 1} of its genome)" if again else on_rung(rungs[number].name)
        what = f"trial {trial.number}{which}: value {value:.4f} {after}"
        if goes_on:
            self.view.note(f"{what}; goes on to rung {rungs[number + 1].name}")
            return True
        self.view.advance()
        self.view.note(
            f"{what}; best is trial {best.trial} with {best.value:.4f}{on_rung(best.rung)}"
        )
        return False

    def _goes_on(self, trial: Trial, number: int, value: float) -> bool:
        """Report the value of a rung, and end the trial if it is its last one."""
        if (ladder := self.settings.ladder) is not None:
            trial.report(value, ladder.step(number))
            if number + 1 < len(ladder.rungs):
                if not trial.should_prune():
                    return True
                self.study.tell(trial, state=TrialState.PRUNED)
                return False
        self.study.tell(trial, value)
        return False

    def _next(self) -> tuple[Trial, Genome] | None:
        """Ask until a genome is new and return it; None at the end of the search."""
        while self.duplicates < self.settings.duplicates:
            if isinstance(sampler := self.study.sampler, SpaceSampler | FirstRung):
                sampler.prepare(self.study, self.settings.out)
            with locked(self.settings.out):
                for number in recover(self.study, self.presence):
                    self.view.note(f"trial {number} was interrupted and will be repeated")
                if len(trained(self.study)) + self._running() >= self.settings.trials:
                    return None
                trial = self.study.ask()
                trial.set_user_attr(WORKER, self.presence.name)
                genome = suggest(trial, self.space)
                identity = genome_id(genome)
                trial.set_user_attr(GENOME_ID, identity)
                twins = self._twins(identity, trial.number)
                if not twins or self._repeats(trial):
                    self.duplicates = 0
                    self._number(trial, twins)
                    return trial, genome
                self.duplicates += 1
                self._tell_duplicate(trial, twins[0])
        self.view.note(
            f"the last {self.duplicates} proposals were known genomes: the search ends here"
        )
        return None

    def _running(self) -> int:
        """Return the number of trials that a living process works on."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return sum(not self.presence.abandoned(trial) for trial in running)

    def _repeats(self, trial: Trial) -> bool:
        """Return whether a known genome is to be trained again because the controller wants it.

        On a ladder none is: the seed is not that of a rung.
        """
        sampler, start = self.study.sampler, START in trial.user_attrs
        return isinstance(sampler, SpaceSampler) and sampler.repeats and not start

    def _twins(self, identity: str, number: int) -> list[FrozenTrial]:
        """Return the trials in which the same genome was trained, or is being trained."""
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        return [
            trial
            for trial in self.study.get_trials(deepcopy=False, states=states)
            if trial.user_attrs.get(GENOME_ID) == identity
            and trial.number != number
            and DUPLICATE_OF not in trial.user_attrs
        ]

    def _number(self, trial: Trial, twins: Sequence[FrozenTrial]) -> None:
        """Give the trial the smallest number that no other training of its genome has."""
        taken = {twin.user_attrs.get(AGAIN, 0) for twin in twins}
        if again := next(number for number in count() if number not in taken):
            trial.set_user_attr(AGAIN, again)

    def _tell_duplicate(self, trial: Trial, twin: FrozenTrial) -> None:
        trial.set_user_attr(DUPLICATE_OF, twin.number)
        if twin.state == TrialState.RUNNING:
            # The value is not known yet. The controller ignores a failed trial.
            self.study.tell(trial, state=TrialState.FAIL)
            return
        for step, value in twin.intermediate_values.items():
            trial.report(value, step)
        if twin.state == TrialState.PRUNED:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, twin.value)
        self.view.note(
            f"trial {trial.number} has the genome of trial {twin.number}, "
            f"value {twin.value:.4f}{on_rung(rung_name(self.study, twin))}, and is not trained "
            "again"
        )

    def _job(self, trial: Trial, genome: Genome, rung: Rung) -> Job:
        folder = self._folder(trial)
        (folder / rung.name).mkdir(parents=True, exist_ok=True)
        # The training finds its genome there and leaves the file, with its note, as it is.
        save_genome(genome, folder / "genome.json", {"trial": trial.number})
        folder /= rung.name
        arguments = {**rung.arguments, "genome": to_json(genome), "out": str(folder)}
        if again := trial.user_attrs.get(AGAIN):
            # The final has the seeds after that of the search, and repetitions those before it.
            arguments["seed"] = seed_of(rung.arguments, -again)
        return Job(self.settings.evaluate, arguments, folder / "log")

    def _folder(self, trial: Trial) -> Path:
        return self.settings.out / "trials" / str(trial.number)
