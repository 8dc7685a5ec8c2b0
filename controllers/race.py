"""A race of controllers on synthetic rewards, and the time of their proposals.

A run is a search as ``search.py`` does it: a known genome gets its old value and does not count as
a trial, unless the controller wants it trained again, and 200 known genomes in a row end the
search. Instead of a training there is a true value (``rewards.py``) plus noise, drawn for each
training. Runs of one seed have the same true values, so controllers are compared in pairs.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import Any, TypeAlias, TypeVar

import numpy as np
import optuna
from optuna.study import Study
from optuna.trial import create_trial

from controllers.registry import create_sampler
from controllers.rewards import REWARDS, Reward
from controllers.samplers import Choices, LogSampler, Record, SpaceSampler, distributions
from controllers.student import half_width
from search_space import Genome, NASFPNSpace, SearchSpace, genome_id

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

DUPLICATES = 200  # known genomes in a row after which a search ends


@dataclass(frozen=True)
class Job:
    """One run: a controller on one function.

    Attributes:
        controller: name in the registry.
        reward: a key of ``rewards.REWARDS``.
        noise: standard deviation of the noise in what the controller sees.
        seed: of function, noise and controller.
        trials: trainings.
        space: what is searched.
        settings: of the controller; pairs, so that a job can be a key.
    """

    controller: str
    reward: str
    noise: float
    seed: int
    trials: int
    space: SearchSpace = NASFPNSpace()  # noqa: RUF009 - immutable
    settings: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Curve:
    """What a run found after each trial.

    Attributes:
        picked: true value of the genome with the best mean of the values that were seen, which
            ``best.json`` would have; shape (trials,).
        best: best true value of all genomes so far; shape (trials,).
        seconds: CPU time of the run.
    """

    picked: Array
    best: Array
    seconds: float = 0.0


@dataclass(frozen=True)
class Timing:
    """A study of random genomes, in which the next two proposals are timed.

    Attributes:
        controller: name in the registry.
        trials: finished trials in the study.
        space: what is searched.
        settings: of the controller.
    """

    controller: str
    trials: int
    space: SearchSpace = NASFPNSpace()  # noqa: RUF009 - immutable
    settings: tuple[tuple[str, float], ...] = ()


def run(job: Job) -> Curve:
    """Search once.

    Raises:
        ControllerError: there is no such controller, or a setting of it cannot be used.
    """
    space, reward = job.space, function(job.reward, job.space, job.seed)
    started = time.process_time()
    sampler = create_sampler(job.controller, space, job.seed, dict(job.settings))
    controller = _proposer(sampler)
    noise = np.random.default_rng((job.seed, zlib.crc32(job.reward.encode())))
    seen: dict[str, list[float]] = {}  # values of a genome, by its id
    worth: dict[str, float] = {}  # true value of a genome
    true: list[float] = []
    picked: list[float] = []
    leader, duplicates = "", 0

    def mean(identity: str) -> float:
        return sum(seen[identity]) / len(seen[identity])

    while len(true) < job.trials and duplicates < DUPLICATES:
        genome = controller.ask()
        identity = genome_id(genome)
        if identity in seen and not sampler.repeats:
            duplicates += 1
            controller.tell(seen[identity][0])
            continue
        duplicates = 0
        true.append(reward(genome))
        value = true[-1] + job.noise * noise.normal()
        seen.setdefault(identity, []).append(value)
        worth[identity] = true[-1]
        if identity == leader:  # its mean may have fallen
            leader = max(seen, key=mean)
        elif not leader or mean(identity) > mean(leader):
            leader = identity
        picked.append(worth[leader])
        controller.tell(value)
    rest = (0, job.trials - len(true))  # a search that ended keeps its best
    best = np.pad(np.maximum.accumulate(true), rest, "edge")
    return Curve(np.pad(picked, rest, "edge"), best, time.process_time() - started)


def run_all(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, Curve]]:
    """Run jobs in several processes and yield each with its curve, in the order they end.

    With one process they run in this one.
    """
    if processes == 1:
        yield from ((job, run(job)) for job in jobs)
    else:
        yield from in_processes(run, jobs, processes)


def in_processes(
    call: Callable[[_Job], _Result], jobs: Sequence[_Job], processes: int
) -> Iterator[tuple[_Job, _Result]]:
    """Call a function of a module in new processes; yield jobs and results in the order they end.

    The processes have the environment variables of this one.
    """
    # Spawned, because a forked copy of a process with MindSpore's threads can hang.
    with ProcessPoolExecutor(processes, get_context("spawn"), _quiet) as pool:
        futures = {pool.submit(call, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def seconds_per_proposal(timing: Timing) -> tuple[float, float]:
    """Return the CPU times of the first and of the next proposal in a study of random genomes.

    The first one is that of a new process, which has to read and learn from all trials.
    """
    space = timing.space
    reward, rng = function("additive", space, 0), np.random.default_rng(0)
    wanted = distributions(space)
    study = optuna.create_study(
        direction="maximize",
        sampler=create_sampler(timing.controller, space, 0, dict(timing.settings)),
    )
    genomes = [space.sample(rng) for _ in range(timing.trials)]
    study.add_trials(
        [
            create_trial(
                params=dict(space.encode(genome)),
                distributions=dict(wanted),
                value=reward(genome) + 0.03 * rng.normal(),
            )
            for genome in genomes
        ]
    )
    times = []
    for _ in range(2):
        started = time.process_time()
        trial = study.ask(wanted)
        times.append(time.process_time() - started)
        study.tell(trial, 0.2)
    return times[0], times[1]


@lru_cache(maxsize=8)
def function(reward: str, space: SearchSpace, seed: int) -> Reward:
    """Return the function of that name and seed."""
    return REWARDS[reward](space, seed)


def interval(values: Array) -> float:
    """Return half the width of the 95% interval of the mean of independent values (Student's t)."""
    return half_width(list(values))


def _quiet() -> None:
    import warnings

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


class _Log:
    """Asks one of our controllers directly: the proposals are those of a study, in less time."""

    def __init__(self, sampler: LogSampler) -> None:
        self.sampler, self.records = sampler, list[Record]()
        self.choices: Choices = ()

    def ask(self) -> Genome:
        self.choices = self.sampler.propose(self.records, self.sampler.generator(len(self.records)))
        return self.sampler.decode(self.choices)

    def tell(self, value: float) -> None:
        self.records.append(Record(self.choices, value))


class _Asked:
    """Asks any controller through a study in memory."""

    def __init__(self, sampler: SpaceSampler) -> None:
        self.space = sampler.space
        self.wanted = distributions(self.space)
        self.study: Study = optuna.create_study(direction="maximize", sampler=sampler)

    def ask(self) -> Genome:
        self.trial = self.study.ask(self.wanted)
        return self.space.decode(self.trial.params)

    def tell(self, value: float) -> None:
        self.study.tell(self.trial, value)


def _proposer(sampler: SpaceSampler) -> _Log | _Asked:
    return _Log(sampler) if isinstance(sampler, LogSampler) else _Asked(sampler)
