"""Which parameters of a study one of Optuna's samplers can learn together, and from which trials.

A study may have trials without some decisions: those of an objective that asks conditionally, or
trials that were added from elsewhere. It may have parameters beside the decisions, such as a
learning rate, and one name may have stood for different things.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from typing import Any, TypeAlias, cast

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    check_distribution_compatibility,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

Space: TypeAlias = dict[str, BaseDistribution]


class Spaces:
    """Reads the parameters of finished trials; equal distributions become one object.

    Each trial is read once, and trials with the same parameters share one space: most studies have
    thousands of trials and one or two spaces. This saves time and changes no result, so a copy or
    a pickle of it has read nothing.

    Attributes:
        decisions: the distributions of the decisions of the search space, by name.
    """

    def __init__(self, decisions: Space) -> None:
        self._trials: dict[int, tuple[FrozenTrial, Space]] = {}
        self._spaces: dict[tuple[tuple[str, int], ...], Space] = {}
        self._distributions: dict[str, BaseDistribution] = {}
        self._last: tuple[list[FrozenTrial], dict[int, Space]] = ([], {})
        self.decisions = self.unique(decisions)

    def __reduce__(self) -> tuple[type[Spaces], tuple[Space]]:
        return Spaces, (self.decisions,)

    def unique(self, space: Space) -> Space:
        """Return a space with the one object for each of its distributions."""
        return {n: self._distributions.setdefault(repr(d), d) for n, d in space.items()}

    def of(self, trial: FrozenTrial) -> Space:
        """Return the distributions of a finished trial: one object for trials with equal ones."""
        known = self._trials.get(trial.number)
        if known is not None and known[0] is trial:  # other studies have trials of this number
            return known[1]
        space = self.unique(dict(sorted(trial.distributions.items())))
        key = tuple((name, id(distribution)) for name, distribution in space.items())
        space = self._spaces.setdefault(key, space)
        self._trials[trial.number] = trial, space
        return space

    def distinct(
        self, trials: list[FrozenTrial], counts: Callable[[FrozenTrial], bool] = lambda trial: True
    ) -> list[Space]:
        """Return the different spaces of the finished trials that count, in their order."""
        before, found = self._last
        if trials[: len(before)] != before:  # usually they are the same objects, and a few more
            before, found = [], {}
        more = (self.of(trial) for trial in trials[len(before) :] if counts(trial))
        found = {**found, **{id(space): space for space in more}}
        self._last = trials, found  # a single assignment, because threads share a sampler
        return list(found.values())


def largest_group(found: Sequence[Space], decisions: Space) -> Space:
    """Return the largest set of parameters that are in the same trials.

    Those are what can be learned together. Of sets of equal size it is the first one, the one with
    the first decision if there is any. In a study whose trials all have the same parameters, it is
    all of them.

    Args:
        found: the different spaces of the trials (:meth:`Spaces.distinct`).
        decisions: those of the search space (:attr:`Spaces.decisions`).

    Returns:
        Decisions in their order, then other parameters by name. Not among them are parameters
        with a single value, names with several distributions, and choices that are not JSON,
        which Optuna's TPE could not share with other workers. The decisions if no trial has any
        parameter.
    """
    groups: dict[frozenset[int], Space] = {}
    for name, distribution, where in _occurrences(found, decisions):
        if where and _is_json(distribution):
            groups.setdefault(where, {})[name] = distribution
    return max(groups.values(), key=len, default=decisions)


def shared(found: Sequence[Space], decisions: Space) -> Space:
    """Return the parameters that all trials have; arguments and order as in largest_group."""
    everywhere = frozenset(range(len(found)))
    return {n: d for n, d, where in _occurrences(found, decisions) if where == everywhere}


def _occurrences(
    found: Sequence[Space], decisions: Space
) -> Iterable[tuple[str, BaseDistribution, frozenset[int]]]:
    """Yield name, distribution and indices of the spaces of each parameter that can be learned."""
    others = sorted({name for space in found for name in space} - decisions.keys())
    for name in (*decisions, *others):
        kinds = {id(space[name]): space[name] for space in found if name in space}
        if name not in decisions and len(kinds) > 1:
            continue
        distribution = decisions[name] if name in decisions else next(iter(kinds.values()))
        if not distribution.single():
            where = (i for i, space in enumerate(found) if space.get(name) is distribution)
            yield name, distribution, frozenset(where)


def without_conflicts(
    study: Study, trials: list[FrozenTrial], spaces: Spaces, wanted: Space
) -> Study:
    """Return the study without the trials whose parameters cannot be read as those wanted.

    Optuna's TPE would end with an error at a trial in which a name has other choices. Only
    ``add_trial`` brings such trials into a study.

    Args:
        study: what the sampler will read.
        trials: its finished trials.
        spaces: reads them.
        wanted: the parameters that will be sampled.

    Returns:
        The study itself if there are no such trials.
    """
    bad = {id(space) for space in spaces.distinct(trials) if not _agrees(space, wanted)}
    hidden = {trial.number for trial in trials if id(spaces.of(trial)) in bad} if bad else ()
    return cast(Study, _Part(study, hidden)) if hidden else study


class _Part:
    """A study without some of its trials, for samplers, which read it in these two ways."""

    def __init__(self, study: Study, hidden: Collection[int]) -> None:
        self._whole, self._hidden = study, hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self._kept(self._whole.get_trials(deepcopy, states))

    def _get_trials(self, *given: Any, **named: Any) -> list[FrozenTrial]:
        return self._kept(self._whole._get_trials(*given, **named))

    def _kept(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        return [trial for trial in trials if trial.number not in self._hidden]


def _agrees(space: Space, wanted: Space) -> bool:
    """Return whether Optuna allows both distributions of each name in one study."""
    for name, distribution in wanted.items():
        if name in space and space[name] is not distribution:
            try:
                check_distribution_compatibility(space[name], distribution)
            except ValueError:
                return False
    return True


def _is_json(distribution: BaseDistribution) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        try:
            json.dumps(distribution.choices)
        except TypeError:
            return False
    return True
