"""The search: ask for a genome, train it unless it is known, tell its value, report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from tqdm import tqdm

from controllers.errors import SearchError
from controllers.samplers import suggest
from controllers.study import (
    DUPLICATE_OF,
    GENOME_ID,
    WORKER,
    Presence,
    locked,
    recover,
    save_best,
)
from controllers.worker import Job, Outcome, ProxyWorker
from search_space import Genome, NASFPNSpace, genome_id, save_genome, to_json


@dataclass(frozen=True)
class SearchSettings:
    """What a search does with each genome, and when it ends.

    Attributes:
        out: run folder; trial n keeps its files in ``trials/<n>``.
        trials: genomes trained when the search ends, by all workers and all earlier runs
            of the study together; repeated and failed ones do not count.
        arguments: what every candidate gets beside ``genome`` and ``out``.
        evaluate: ``module:function`` that scores a candidate; see ``proxy.evaluate``.
        metric: the one of its metrics to maximise.
        timeout: seconds after which a candidate has failed.
        duplicates: genomes proposed in a row that are known already, after which the
            search ends: the controller has converged or the space is used up.
        failures: candidates in a row after whose failure the search stops.
    """

    out: Path
    trials: int
    arguments: Mapping[str, Any]
    evaluate: str = "controllers.candidate:evaluate"
    metric: str = "AP"
    timeout: float | None = None
    duplicates: int = 200
    failures: int = 5


def search(
    study: Study, space: NASFPNSpace, settings: SearchSettings, *, progress: bool = True
) -> None:
    """Run the search until as many genomes are trained as the settings say.

    Several processes may do so on one study. A process that is interrupted or killed
    leaves its trial to whoever runs the search next.

    Raises:
        SearchError: ``settings.failures`` candidates in a row have failed.
    """
    start = len(_trained(study))
    with (
        Presence(settings.out) as presence,
        ProxyWorker() as worker,
        tqdm(total=settings.trials, initial=start, unit="genome", disable=not progress) as bar,
    ):
        _Loop(study, space, settings, presence, worker, bar.write, bar.update).run()


@dataclass
class _Loop:
    study: Study
    space: NASFPNSpace
    settings: SearchSettings
    presence: Presence
    worker: ProxyWorker
    say: Callable[[str], object]
    advance: Callable[[int], object]
    duplicates: int = 0
    failures: int = 0

    def run(self) -> None:
        while (candidate := self._next()) is not None:
            trial, genome = candidate
            outcome = self.worker.evaluate(self._job(trial, genome), self.settings.timeout)
            self._tell(trial, outcome)
            if self.failures >= self.settings.failures:
                raise SearchError(
                    f"{self.failures} candidates in a row failed, the last with "
                    f"{trial.user_attrs['error']!r}; see {self._folder(trial) / 'log'}"
                )

    def _next(self) -> tuple[Trial, Genome] | None:
        """Ask until a genome is new; None at the end of the search."""
        while self.duplicates < self.settings.duplicates:
            with locked(self.settings.out):
                for number in recover(self.study, self.presence):
                    self.say(f"Trial {number} was cut short and will be repeated.")
                if len(_trained(self.study)) + self._running() >= self.settings.trials:
                    return None
                trial = self.study.ask()
                trial.set_user_attr(WORKER, self.presence.name)
                genome = suggest(trial, self.space)
                identity = genome_id(genome)
                trial.set_user_attr(GENOME_ID, identity)
                twin = self._twin(identity, trial.number)
                if twin is None:
                    self.duplicates = 0
                    return trial, genome
                self.duplicates += 1
                self._tell_duplicate(trial, twin)
        self.say(f"The last {self.duplicates} proposals were known genomes: the search ends here.")
        return None

    def _running(self) -> int:
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return sum(not self.presence.abandoned(trial) for trial in running)

    def _twin(self, identity: str, number: int) -> FrozenTrial | None:
        """Return the trial in which the same genome was trained, or is being trained."""
        states = (TrialState.COMPLETE, TrialState.RUNNING)
        for trial in self.study.get_trials(deepcopy=False, states=states):
            same = trial.user_attrs.get(GENOME_ID) == identity and trial.number != number
            if same and DUPLICATE_OF not in trial.user_attrs:
                return trial
        return None

    def _tell_duplicate(self, trial: Trial, twin: FrozenTrial) -> None:
        trial.set_user_attr(DUPLICATE_OF, twin.number)
        if twin.state == TrialState.COMPLETE:
            self.study.tell(trial, twin.value)
            self.say(
                f"Trial {trial.number} is the genome of trial {twin.number}, "
                f"value {twin.value:.4f}: not trained again."
            )
        else:
            # Its value is not known yet; to the controller this trial has not happened.
            self.study.tell(trial, state=TrialState.FAIL)

    def _job(self, trial: Trial, genome: Genome) -> Job:
        folder = self._folder(trial)
        folder.mkdir(parents=True, exist_ok=True)
        save_genome(genome, folder / "genome.json", {"trial": trial.number})
        arguments = {**self.settings.arguments, "genome": to_json(genome), "out": str(folder)}
        return Job(self.settings.evaluate, arguments, folder / "log")

    def _folder(self, trial: Trial) -> Path:
        return self.settings.out / "trials" / str(trial.number)

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        value, error = _value(outcome, self.settings.metric)
        with locked(self.settings.out):
            trial.set_user_attr("seconds", round(outcome.seconds, 3))
            if value is None:
                trial.set_user_attr("error", error)
                self.study.tell(trial, state=TrialState.FAIL)
            else:
                trial.set_user_attr("metrics", dict(outcome.metrics or {}))
                self.study.tell(trial, value)
                save_best(self.study, self.space, self.settings.out)
        if value is None:
            self.failures += 1
            self.say(f"Trial {trial.number} failed after {outcome.seconds:.0f} s: {error}")
            return
        self.failures = 0
        self.advance(1)
        best = self.study.best_trial
        self.say(
            f"Trial {trial.number} finished with value {value:.4f} after {outcome.seconds:.0f} s. "
            f"Best is trial {best.number} with value {best.value:.4f}."
        )


def _value(outcome: Outcome, metric: str) -> tuple[float | None, str | None]:
    if outcome.metrics is None:
        return None, outcome.error
    value = outcome.metrics.get(metric)
    if value is None or not math.isfinite(value):
        return None, f"the candidate's {metric} is a finite number, got {value}"
    return value, None


def _trained(study: Study) -> list[FrozenTrial]:
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in done if DUPLICATE_OF not in trial.user_attrs]
