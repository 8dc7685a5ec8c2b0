"""Successive halving: which trials go on to the next rung, and what controllers learn from them.

Optuna's ``SuccessiveHalvingPruner`` decides when a trial has a value on a rung. The trial goes on
if the value is among the best 1 of ``factor`` values of that rung so far; the first ``factor - 1``
trials go on if theirs is the best so far. A trial that was stopped stays so.

The pruner counts steps: with ``min_resource=1``, a rung ends after ``factor ** number`` steps. So
the value on rung number 0, 1, 2, ... is reported as that of step 1, ``factor``, ``factor ** 2``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from optuna.distributions import BaseDistribution
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from controllers.ladder import Ladder
from controllers.samplers import REPEATS, SpaceSampler


def climbing(study: Study, ladder: Ladder) -> Study:
    """Return a study whose trials climb a ladder; it has the trials of the given one."""
    climbing = copy.copy(study)
    climbing.pruner = Halving(ladder.factor)
    climbing.sampler = FirstRung(study.sampler)
    return climbing


class Halving(SuccessiveHalvingPruner):
    """Optuna's pruner; of an interrupted trial and its repetition, only the repetition counts.

    Optuna notes in a trial which rungs it has passed, and counts the notes of all trials, whatever
    their state. The repetition gets the values of the interrupted trial, so they would count twice.

    Args:
        factor: see ``ladder.Ladder``.
    """

    def __init__(self, factor: int) -> None:
        super().__init__(min_resource=1, reduction_factor=factor)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether a trial ends on the rung that it has a value of now."""
        return super().prune(_showing(study, _counted), trial)


class FirstRung(BaseSampler):
    """A controller that learns from the values of the first rung, which every trial has.

    It sees each trial as if the search had this rung only. So the values that it learns from can be
    compared, it does not depend on when the higher rungs of other trials are trained, and it
    proposes the genomes that it would propose without the higher rungs.

    Args:
        sampler: the controller.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self.sampler = sampler
        self._known: dict[int, tuple[FrozenTrial, FrozenTrial]] = {}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.sampler.infer_relative_search_space(self._seen(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.sampler.sample_relative(self._seen(study), trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        seen = self._seen(study)
        return self.sampler.sample_independent(seen, trial, param_name, param_distribution)

    def prepare(self, study: Study, folder: Path) -> None:
        """Let the controller learn, see ``SpaceSampler.prepare``."""
        if isinstance(self.sampler, SpaceSampler):
            self.sampler.prepare(self._seen(study), folder)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.sampler.before_trial(self._seen(study), trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.sampler.after_trial(self._seen(study), trial, state, values)

    def _seen(self, study: Study) -> Study:
        return _showing(study, lambda trials: [self._on_first_rung(trial) for trial in trials])

    def _on_first_rung(self, trial: FrozenTrial) -> FrozenTrial:
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return trial
        # The same object for the same trial: controllers recognise what they have read by it.
        known = self._known.get(trial.number)
        if known is not None and known[0] is trial:
            return known[1]
        shown = copy.copy(trial)
        if values := trial.intermediate_values:
            shown.state, shown.value = TrialState.COMPLETE, values[min(values)]
            shown.intermediate_values = {}
        self._known[trial.number] = trial, shown
        return shown


def _counted(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that no other one repeats."""
    repeated = {trial.user_attrs.get(REPEATS) for trial in trials}
    return [trial for trial in trials if trial.number not in repeated]


class _Showing:
    """A storage that shows the trials of its studies as a function changes them."""

    def __init__(
        self, storage: BaseStorage, change: Callable[[list[FrozenTrial]], list[FrozenTrial]]
    ) -> None:
        self._storage, self._change = storage, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Any = None
    ) -> list[FrozenTrial]:
        trials = self._change(self._storage.get_all_trials(study_id, deepcopy=deepcopy))
        return [trial for trial in trials if states is None or trial.state in states]


def _showing(study: Study, change: Callable[[list[FrozenTrial]], list[FrozenTrial]]) -> Study:
    """Return a study that shows its trials as a function changes them, and is written as ever."""
    shown = copy.copy(study)
    shown._storage = cast(BaseStorage, _Showing(study._storage, change))
    return shown
