"""A ladder of rungs: what a search trains a genome on, and how its trials are compared.

A rung is a way to score a genome, such as a warm start of two epochs. Each trial is trained on the
first rung, the cheapest. ``halving.py`` decides whether it goes on to the next one. The value on a
rung is a report of the trial (Optuna's intermediate value), so a trial has as many reports as it
has climbed rungs. A trial that is stopped is pruned; one that was trained on the last rung is
complete. The value of either is its last report.

Values of two rungs cannot be compared. So trials are ranked by the rung that they reached, and by
their value among those that reached the same rung.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from controllers.identity import LADDER
from controllers.journal import IDENTITY
from controllers.trainings import Rung

# Keys of a ladder in the identity of a search, see ``identity.LADDER``.
NAMES, FACTOR, WARM, RECIPES = "rungs", "factor", "warm", "recipes"


@dataclass(frozen=True)
class Ladder:
    """The rungs of a search.

    Attributes:
        rungs: one or more, the cheapest first; with different names.
        factor: about one of so many trials goes on to the next rung; 2 or more.
        warm: names of the rungs on which genomes start from the reference of the search.
    """

    rungs: tuple[Rung, ...]
    factor: int
    warm: frozenset[str] = frozenset()

    def step(self, number: int) -> int:
        """Return the step of the report of a rung, by its number from 0.

        It is the number of steps that Optuna's pruner expects after that rung.
        """
        return int(self.factor**number)

    @property
    def dearest_warm(self) -> Mapping[str, Any]:
        """The arguments of the last warm rung; there must be one."""
        return next(rung.arguments for rung in self.rungs[::-1] if rung.name in self.warm)

    def identity(self) -> dict[str, Any]:
        """Return what must be the same when the search is resumed, as JSON data."""
        return {
            NAMES: [rung.name for rung in self.rungs],
            FACTOR: self.factor,
            WARM: [rung.name for rung in self.rungs if rung.name in self.warm],
            RECIPES: {rung.name: rung.depends_on("", 0)["recipe"] for rung in self.rungs},
        }

    def started(self, init: Mapping[str, Any]) -> Ladder:
        """Return the ladder with warm rungs that start from these weights.

        Args:
            init: see ``reference.ready``.
        """
        rungs = tuple(
            Rung(rung.name, {**rung.arguments, "init": init}) if rung.name in self.warm else rung
            for rung in self.rungs
        )
        return Ladder(rungs, self.factor, self.warm)


def reached(trial: FrozenTrial) -> int:
    """Return the number of the highest rung with a value, from 0; 0 without a ladder."""
    return max(0, len(trial.intermediate_values) - 1)


def climbed(trial: FrozenTrial) -> list[float]:
    """Return the values of a trial on the rungs that it has climbed, the lowest first."""
    return [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]


def rank(trial: FrozenTrial) -> tuple[int, float, int]:
    """Return a key by which a better trial is greater: by rung, then value, then age."""
    value = -float("inf") if trial.value is None else trial.value
    return reached(trial), value, -trial.number


def rung_names(study: Study) -> list[str]:
    """Return the names of the rungs of a search; none without a ladder."""
    return list(study.user_attrs.get(IDENTITY, {}).get(LADDER, {}).get(NAMES, ()))


def rung_name(study: Study, trial: FrozenTrial) -> str:
    """Return the name of the highest rung with a value; "" without a ladder."""
    names = rung_names(study)
    return names[reached(trial)] if names else ""


def recipe_of(identity: Mapping[str, Any], rung: str) -> Any:
    """Return the settings by which a search trains on a rung; None if they are not known.

    Args:
        identity: of the search.
        rung: name of the rung; "" without a ladder.
    """
    if not rung:
        return identity.get("recipe")
    return identity.get(LADDER, {}).get(RECIPES, {}).get(rung)


def on_rung(rung: str) -> str:
    """Return what a line says after a value: `` on rung proxy``; nothing without a ladder."""
    return f" on rung {rung}" if rung else ""
