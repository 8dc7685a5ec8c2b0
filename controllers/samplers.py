"""What every controller is: an Optuna sampler that is a function of seed and trial log.

A proposal depends on the seed, the index of its trial and the trials finished when it is
made, and on nothing else. Hence the same seed gives the same proposals in any process,
resuming needs no saved state, and workers that share a study need no word with each other.
"""

from __future__ import annotations

import math
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from controllers.errors import ControllerError
from search_space import Genome, NASFPNSpace

# User attribute of a trial that repeats one cut short with its process: that one's number.
REPEATS = "repeats"

# The index chosen for every decision of a space, in their order.
Choices: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Record:
    """A finished trial as a controller sees it.

    Attributes:
        choices: what the trial chose.
        reward: the trial's value, negated where the study minimises, so that more is
            better; the last report of a pruned trial, since trials are pruned for being
            bad and the report says how bad; None for a trial that failed.
    """

    choices: Choices
    reward: float | None


def suggest(trial: Trial, space: NASFPNSpace) -> Genome:
    """Ask the trial for every decision of the space and return the genome.

    Works with any sampler and in any study; the parameters are those of
    :func:`distributions`.
    """
    choices = {d.name: trial.suggest_categorical(d.name, range(d.size)) for d in space.decisions()}
    return space.decode(choices)


def distributions(space: NASFPNSpace) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution of every decision, by name, in the space's order.

    Categorical, not integer: node numbers, remaining levels and ops have no order that a
    sampler could use, and the set is the same in every trial.
    """
    return {d.name: CategoricalDistribution(range(d.size)) for d in space.decisions()}


def trial_index(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """Return which proposal of the study a trial is, from 0.

    A repetition has the index of its first attempt, and the others are counted without
    repetitions: the proposals of a resumed study are those of an unbroken one.

    Args:
        trial: one of the study.
        trials: all of the study, by number.
    """
    number = trial.number
    while REPEATS in trials[number].user_attrs:
        number = trials[number].user_attrs[REPEATS]
    return number - sum(REPEATS in t.user_attrs for t in trials[:number])


def finished(space: NASFPNSpace, study: Study, trials: Sequence[FrozenTrial]) -> list[Record]:
    """Return the finished trials in the order of their numbers.

    The order is by number, not by time of finishing: with several workers the latter is
    known to the storage alone and differs from run to run. Trials without a choice for
    every decision are left out, as are those that another repeats.
    """
    sign = -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0
    names = [d.name for d in space.decisions()]
    repeated = {t.user_attrs.get(REPEATS) for t in trials}
    return [
        Record(tuple(trial.params[name] for name in names), _reward(trial, sign))
        for trial in trials
        if trial.state.is_finished()
        and trial.number not in repeated
        and trial.params.keys() >= set(names)
    ]


def _reward(trial: FrozenTrial, sign: float) -> float | None:
    value = trial.value if trial.state != TrialState.FAIL else None
    return sign * value if value is not None and math.isfinite(value) else None


class SpaceSampler(optuna.samplers.BaseSampler):
    """A sampler that asks for the decisions of a space, all at once.

    Parameters of a trial that are no decisions of the space, which a user's own objective
    may ask for, are drawn evenly.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.

    Raises:
        ControllerError: the seed is not an integer from 0.
    """

    def __init__(self, space: NASFPNSpace, seed: int = 0) -> None:
        if not isinstance(seed, int) or seed < 0:
            raise ControllerError(f"a seed is an integer from 0, got {seed!r}")
        self.space, self.seed = space, seed
        self._names = tuple(decision.name for decision in space.decisions())

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return distributions(self.space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        index = trial_index(trial, study.get_trials(deepcopy=False))
        # A stream of its own for each name: parameters are asked for one at a time.
        rng = self.generator(index, zlib.crc32(param_name.encode()))
        sampler = optuna.samplers.RandomSampler(seed=optuna_seed(rng))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def generator(self, index: int, *stream: int) -> np.random.Generator:
        """Return the generator of the proposal of that index."""
        return np.random.default_rng((self.seed, index, *stream))

    def decode(self, choices: Choices) -> Genome:
        """Return the genome of the choices."""
        return self.space.decode(dict(zip(self._names, choices, strict=True)))

    def encode(self, genome: Genome) -> Choices:
        """Return the choices of a genome; of the several that lead to it, always the same."""
        return tuple(self.space.encode(genome).values())


class LogSampler(SpaceSampler):
    """A controller of this package: a subclass writes :meth:`propose`, no more."""

    @abstractmethod
    def propose(self, records: Sequence[Record], rng: np.random.Generator) -> Choices:
        """Return the next choices, given what is finished and this trial's generator."""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if len(study.directions) > 1:
            raise ControllerError(
                f"{type(self).__name__} searches for one value, "
                f"got a study with {len(study.directions)}"
            )
        trials = study.get_trials(deepcopy=False)
        rng = self.generator(trial_index(trial, trials))
        choices = self.propose(finished(self.space, study, trials), rng)
        return dict(zip(self._names, choices, strict=True))


class WrappedSampler(SpaceSampler):
    """One of Optuna's samplers; a subclass writes :meth:`inner`, no more.

    A new one is made for every trial, so that it carries no random state from one to the
    next; what it learns from, it reads from the study.
    """

    @abstractmethod
    def inner(self, seed: int) -> optuna.samplers.BaseSampler:
        """Return Optuna's sampler with that seed."""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        index = trial_index(trial, study.get_trials(deepcopy=False))
        sampler = self.inner(optuna_seed(self.generator(index)))
        # What it leaves out (all at the start, mutated decisions later) is drawn evenly.
        return sampler.sample_relative(study, trial, search_space)


def optuna_seed(rng: np.random.Generator) -> int:
    """Return a seed for an Optuna sampler, which takes 32 bits."""
    return int(rng.integers(2**32))
