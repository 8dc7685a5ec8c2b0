"""Base classes of the controllers: Optuna samplers that are functions of seed and trial log.

A proposal depends only on the seed, the index of its trial, and the trials that are finished
when it is made. Hence the same seed gives the same proposals in any process, resuming needs no
saved state, and workers that share a study need not communicate.
"""

from __future__ import annotations

import math
import zlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from controllers.errors import ControllerError
from controllers.joint import Space, Spaces, largest_group, without_conflicts
from search_space import Genome, SearchSpace
from search_space.errors import value_text
from search_space.rules import as_int

# User attribute of a trial that repeats an interrupted one: the number of that trial.
REPEATS = "repeats"

# The index chosen for each decision of a space, in the order of the decisions.
Choices: TypeAlias = tuple[int, ...]

# What Optuna calls with a finished trial: it returns numbers that are above 0 if the trial breaks
# a constraint, and by how much.
Constraints: TypeAlias = Callable[[FrozenTrial], Sequence[float]]


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


def suggest(trial: Trial, space: SearchSpace) -> Genome:
    """Ask the trial for every decision of the space and return the genome.

    It works with any sampler and in any study. The parameters are those of
    :func:`distributions`. Values of numpy's integer types, as a queued trial may have, are
    integers.
    """
    choices = {d.name: trial.suggest_categorical(d.name, range(d.size)) for d in space.decisions()}
    return space.decode(choices)


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
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
        trials: all trials of the study (:func:`all_trials`), in any order.
    """
    repeats = {t.number: t.user_attrs[REPEATS] for t in trials if REPEATS in t.user_attrs}
    number = trial.number
    # A trial can only repeat an earlier one; a note that says otherwise came from another study.
    while (first := repeats.get(number, number)) < number:
        number = first
    return number - sum(repetition < number for repetition in repeats)


def all_trials(study: Study) -> list[FrozenTrial]:
    """Return all trials of a study, by number.

    ``HyperbandPruner`` gives samplers a study whose ``get_trials`` returns the trials of one
    bracket only. This function returns those of all brackets.
    """
    return Study.get_trials(study, deepcopy=False)


def finished(
    space: SearchSpace,
    study: Study,
    trials: Sequence[FrozenTrial],
    spaces: Spaces | None = None,
) -> list[Record]:
    """Return the finished trials in the order of their numbers.

    They are not in the order in which they finished, because with several workers that order
    differs from run to run. Trials that another one repeats are left out. So are trials without
    a choice for every decision, or whose choices are of another space: trials of an objective
    that asks for some decisions only, and trials that were added from elsewhere.

    Args:
        space: what is searched.
        study: tells the direction, and with ``HyperbandPruner`` the bracket: trials of other
            brackets are left out.
        trials: all trials of the study, by number (:func:`all_trials`).
        spaces: remembers the parameters of trials; by default nothing is remembered.
    """
    wanted = (spaces := spaces or Spaces(distributions(space))).decisions
    sign = -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0
    complete: dict[int, bool] = {}  # by the identity of the parameters, which few trials differ in
    repeated = {t.user_attrs.get(REPEATS) for t in trials}
    # The same list again would be another request to a database.
    whole = type(study).get_trials is Study.get_trials
    records = []
    for trial in trials if whole else study.get_trials(deepcopy=False):
        if not trial.state.is_finished() or trial.number in repeated:
            continue
        given = spaces.of(trial)
        if id(given) not in complete:
            complete[id(given)] = all(given.get(name) is d for name, d in wanted.items())
        if complete[id(given)]:
            choices = tuple(map(int, itemgetter(*wanted)(trial.params)))
            records.append(Record(choices, _reward(trial, sign)))
    return records


def _reward(trial: FrozenTrial, sign: float) -> float | None:
    value = trial.value if trial.state != TrialState.FAIL else None
    return sign * value if value is not None and math.isfinite(value) else None


class SpaceSampler(optuna.samplers.BaseSampler):
    """A sampler that chooses all decisions of a space at once.

    A user's objective may ask for parameters that are not decisions of the space, and need not
    ask for all decisions, or for any. A sampler can be pickled and copied at any time: the copy
    makes the same proposals.

    It has no random state: a proposal depends on the index of its trial. So Optuna's
    ``reseed_rng``, which is to keep threads from proposing the same, has nothing to do.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.

    Raises:
        ControllerError: the seed is not an integer from 0.
    """

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        number = as_int(seed)
        if number is None or number < 0:
            raise ControllerError(f"seed must be an integer from 0, got {value_text(seed)}")
        self.space, self.seed = space, number
        # Whether a known genome that is proposed is to be trained again, with another seed.
        self.repeats = False
        self._names = tuple(decision.name for decision in space.decisions())
        self._spaces = Spaces(distributions(space))

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return dict(self._spaces.decisions)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        index = trial_index(trial, all_trials(study))
        sampler = optuna.samplers.RandomSampler(seed=self._seed_of(index, param_name))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def prepare(self, study: Study, folder: Path) -> None:
        """Do what takes long for the next proposal, so that it need not be done while asking.

        A search calls this before it takes the lock of its study. Proposals do not depend on it.

        Args:
            study: the study of the next proposal.
            folder: run folder of the search. A sampler may keep a file there that saves time, and
                works as well without it.
        """

    def _seed_of(self, index: int, name: str) -> int:
        # Each name has its own stream, because parameters are asked for one at a time.
        return optuna_seed(self.generator(index, zlib.crc32(name.encode())))

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
    """A controller of this package. Subclasses implement :meth:`propose`.

    It learns from trials that were asked for every decision. Parameters that are not decisions
    are drawn evenly from their range (of its logarithm, if the distribution says so), each
    independently of all else: nothing is learned about them.
    """

    @abstractmethod
    def propose(self, records: Sequence[Record], rng: np.random.Generator) -> Choices:
        """Return the next choices, given the finished trials and the generator of this one."""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._check_one_objective(study)
        trials = all_trials(study)
        rng = self.generator(trial_index(trial, trials))
        choices = self.propose(finished(self.space, study, trials, self._spaces), rng)
        proposed = zip(self._names, choices, strict=True)
        # Samplers around this one, such as PartialFixedSampler, ask for fewer.
        return {name: choice for name, choice in proposed if name in search_space}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        self._check_one_objective(study)
        return super().sample_independent(study, trial, param_name, param_distribution)

    def _check_one_objective(self, study: Study) -> None:
        if len(study.directions) > 1:
            raise ControllerError(
                f"{type(self).__name__} must have a study with one objective, "
                f"got one with {len(study.directions)}"
            )


class WrappedSampler(SpaceSampler):
    """A controller that wraps one of Optuna's samplers. Subclasses implement :meth:`inner`.

    Each trial uses new Optuna samplers, so no random state is carried from trial to trial.
    Optuna's samplers read what they learn from in the study, and they store there what they are
    told after a trial, such as constraints.

    Parameters that are not decisions are learned as Optuna's sampler does it: together with the
    decisions if every trial has them, otherwise by the sampler's ``sample_independent``. The same
    holds for decisions that the objective asks for in some trials only.
    """

    @abstractmethod
    def inner(self, seed: int) -> optuna.samplers.BaseSampler:
        """Return Optuna's sampler with that seed."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        found = self._spaces.distinct(_learned_from(all_trials(study)))
        return dict(largest_group(found, self._spaces.decisions))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trials = all_trials(study)
        sampler = self.inner(optuna_seed(self.generator(trial_index(trial, trials))))
        readable = self.readable(study, trials, search_space)
        # Decisions that it does not return go to sample_independent: all of them in the first
        # trials, mutated ones later.
        return sampler.sample_relative(readable, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        trials = all_trials(study)
        readable = self.readable(study, trials, {param_name: param_distribution})
        sampler = self.inner(self._seed_of(trial_index(trial, trials), param_name))
        return sampler.sample_independent(readable, trial, param_name, param_distribution)

    def readable(self, study: Study, trials: Sequence[FrozenTrial], wanted: Space) -> Study:
        """Return the study as Optuna's sampler can read it when it samples these parameters."""
        learned_from = _learned_from(trials)
        return without_conflicts(study, learned_from, self._spaces, self._spaces.unique(wanted))

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._listener.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._listener.after_trial(study, trial, state, values)

    @cached_property
    def _listener(self) -> optuna.samplers.BaseSampler:
        """The sampler that is told of each trial, and proposes nothing."""
        return self.inner(optuna_seed(self.generator(0)))


def _learned_from(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that Optuna's samplers learn from, at most."""
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return [trial for trial in trials if trial.state in states]


def optuna_seed(rng: np.random.Generator) -> int:
    """Return a seed for an Optuna sampler, which takes 32 bits."""
    return int(rng.integers(2**32))
