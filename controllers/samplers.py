"""Base classes of the controllers: Optuna samplers that are functions of seed and trial log.

A proposal depends only on the seed, the index of its trial, and the trials that are finished
when it is made. Hence the same seed gives the same proposals in any process, resuming needs no
saved state, and workers that share a study need not communicate.
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

# User attribute of a trial that repeats an interrupted one: the number of that trial.
REPEATS = "repeats"

# The index chosen for each decision of a space, in the order of the decisions.
Choices: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Record:
    """A finished trial as a controller sees it.

    Attributes:
        choices: the choices of the trial.
        reward: value of the trial, negated if the study minimises, so that higher is better.
            For a pruned trial it is the last report: trials are pruned for being bad, and the
            report says how bad. None for a failed trial.
    """

    choices: Choices
    reward: float | None


def suggest(trial: Trial, space: NASFPNSpace) -> Genome:
    """Ask the trial for every decision of the space and return the genome.

    It works with any sampler and in any study. The parameters are those of
    :func:`distributions`.
    """
    choices = {d.name: trial.suggest_categorical(d.name, range(d.size)) for d in space.decisions()}
    return space.decode(choices)


def distributions(space: NASFPNSpace) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution of each decision, by name, in the order of the space.

    They are categorical, not integer, because node numbers, remaining levels and ops have no
    order that a sampler could use. They are the same in every trial.
    """
    return {d.name: CategoricalDistribution(range(d.size)) for d in space.decisions()}


def trial_index(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """Return the index of the trial's proposal in the study, from 0.

    A repeated trial has the index of its first attempt, and repetitions are not counted in the
    indices of others. So the proposals of a resumed study are those of one that was never
    interrupted.

    Args:
        trial: a trial of the study.
        trials: all trials of the study, by number.
    """
    number = trial.number
    while REPEATS in trials[number].user_attrs:
        number = trials[number].user_attrs[REPEATS]
    return number - sum(REPEATS in t.user_attrs for t in trials[:number])


def finished(space: NASFPNSpace, study: Study, trials: Sequence[FrozenTrial]) -> list[Record]:
    """Return the finished trials in the order of their numbers.

    They are not in the order in which they finished, because with several workers that order
    differs from run to run. Trials without a choice for every decision are left out, and so
    are trials that another one repeats.
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
    """A sampler that chooses all decisions of a space at once.

    A user's objective may ask for parameters that are not decisions of the space. These are
    drawn uniformly at random.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.

    Raises:
        ControllerError: the seed is not an integer from 0.
    """

    def __init__(self, space: NASFPNSpace, seed: int = 0) -> None:
        if not isinstance(seed, int) or seed < 0:
            raise ControllerError(f"seed must be an integer from 0, got {seed!r}")
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
        # Each name has its own stream, because parameters are asked for one at a time.
        rng = self.generator(index, zlib.crc32(param_name.encode()))
        sampler = optuna.samplers.RandomSampler(seed=optuna_seed(rng))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def generator(self, index: int, *stream: int) -> np.random.Generator:
        """Return the random generator of the proposal with that index."""
        return np.random.default_rng((self.seed, index, *stream))

    def decode(self, choices: Choices) -> Genome:
        """Return the genome of the choices."""
        return self.space.decode(dict(zip(self._names, choices, strict=True)))

    def encode(self, genome: Genome) -> Choices:
        """Return the choices that decode to the genome; the same ones if several do."""
        return tuple(self.space.encode(genome).values())


class LogSampler(SpaceSampler):
    """A controller of this package. Subclasses implement :meth:`propose`."""

    @abstractmethod
    def propose(self, records: Sequence[Record], rng: np.random.Generator) -> Choices:
        """Return the next choices, given the finished trials and the generator of this one."""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if len(study.directions) > 1:
            raise ControllerError(
                f"{type(self).__name__} must have a study with one objective, "
                f"got one with {len(study.directions)}"
            )
        trials = study.get_trials(deepcopy=False)
        rng = self.generator(trial_index(trial, trials))
        choices = self.propose(finished(self.space, study, trials), rng)
        return dict(zip(self._names, choices, strict=True))


class WrappedSampler(SpaceSampler):
    """A controller that wraps one of Optuna's samplers. Subclasses implement :meth:`inner`.

    Each trial uses a new Optuna sampler, so no random state is carried from trial to trial.
    Optuna's samplers read what they learn from in the study.
    """

    @abstractmethod
    def inner(self, seed: int) -> optuna.samplers.BaseSampler:
        """Return Optuna's sampler with that seed."""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        index = trial_index(trial, study.get_trials(deepcopy=False))
        sampler = self.inner(optuna_seed(self.generator(index)))
        # Decisions that it does not return go to sample_independent: all of them in the first
        # trials, mutated ones later.
        return sampler.sample_relative(study, trial, search_space)


def optuna_seed(rng: np.random.Generator) -> int:
    """Return a seed for an Optuna sampler, which takes 32 bits."""
    return int(rng.integers(2**32))
