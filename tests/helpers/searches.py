"""Searches with the reward of ``synthetic``: in this process, in another, or without training.

``python -c "import searches; searches.main()" OUT CONTROLLER TRIALS ARGUMENTS`` runs a search;
ARGUMENTS is JSON. :func:`start` does so. :func:`start_final` runs a final of it in the same way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import Trial, TrialState

from controllers import create_sampler, suggest
from controllers.contest import Rules, standing
from controllers.final import Final, FinalSettings
from controllers.ladder import Ladder
from controllers.placing import Placing, places
from controllers.registry import controller_settings
from controllers.samplers import REPEATS, SpaceSampler
from controllers.search import SearchSettings, search
from controllers.starts import Contender
from controllers.study import DUPLICATE_OF, GENOME_ID, open_study
from controllers.trainings import Rung
from controllers.view import CandidateProgress
from search_space import SearchSpace
from synthetic import SPACE, reward

FINAL = "the final"  # in place of the name of a controller
RULES = Rules(seeds=6)
_RNG = np.random.default_rng(5)
GENOMES = {name: SPACE.sample(_RNG) for name in ("one", "two", "three")}  # starting points


class Recorder:
    """A view that keeps everything it is shown."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.seen: list[CandidateProgress] = []
        self.advanced = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def candidate(self, progress: CandidateProgress) -> None:
        self.seen.append(progress)

    def advance(self) -> None:
        self.advanced += 1

    def expect(self, left: int) -> None:
        self.left = left


def settings(
    out: Path,
    trials: int,
    evaluate: str = "evaluate",
    rungs: Mapping[str, Mapping[str, Any]] | None = None,
    factor: int = 3,
    **arguments: Any,
) -> SearchSettings:
    """Return the settings of a search whose candidates ``synthetic.EVALUATE`` scores.

    Args:
        rungs: arguments of each rung of a ladder; None for a search without a ladder.
    """
    made = SearchSettings(out, trials, {"seed": 0, **arguments}, f"synthetic:{evaluate}")
    if rungs is None:
        return made
    ladder = Ladder(tuple(Rung(n, {**arguments, **own}) for n, own in rungs.items()), factor)
    return replace(made, ladder=ladder)


def opened(
    out: Path,
    controller: str = "random",
    seed: int = 0,
    *,
    repair: Callable[[str], None] | None = None,
    **identity: Any,
) -> Study:
    """Open the study of a run folder, with an identity that is made up."""
    defaults = {key: known.default for key, known in controller_settings(controller).items()}
    identity = {
        "controller": controller,
        **({"controller_settings": defaults} if defaults else {}),
        "seed": seed,
        "recipe": {"epochs": 3},
        **identity,
    }
    return open_study(out, identity, create_sampler(controller, SPACE, seed), repair=repair)


def run(out: Path, controller: str, trials: int, **arguments: Any) -> Study:
    """Search in a run folder and return the study; arguments are those of :func:`settings`."""
    limits = settings(out, trials, **arguments)
    identity = {}
    if limits.ladder is not None:
        identity["ladder"] = {"rungs": [rung.name for rung in limits.rungs], "recipes": {}}
        identity["ladder"]["factor"] = limits.ladder.factor
    study = opened(out, controller, **identity)
    search(study, SPACE, limits)
    return study


def final(
    out: Path,
    *,
    best: int = 5,
    rules: Rules = RULES,
    evaluate: str = "evaluate",
    **arguments: Any,
) -> Final:
    """Return the final of a search by ``random`` whose trainings ``synthetic.EVALUATE`` scores."""
    given = {"recipe": {"epochs": 6}, "digests": {"val": "1"}, "seed": 0, **arguments}
    limits = FinalSettings(out, given, best, rules, None, f"synthetic:{evaluate}")
    return Final(opened(out), SPACE, limits)


def start(out: Path, controller: str, trials: int, **arguments: Any) -> subprocess.Popen[bytes]:
    """Start :func:`run` in another process."""
    given = (str(out), controller, str(trials), json.dumps(arguments))
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", "import searches; searches.main()", *given],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def start_final(out: Path, **arguments: Any) -> subprocess.Popen[bytes]:
    """Start a :func:`final` in another process."""
    return start(out, FINAL, 0, **arguments)


def main() -> None:
    """Run a search, or a final, as the command line says."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    out, controller, trials, arguments = sys.argv[1:]
    if controller == FINAL:
        final(Path(out), **json.loads(arguments)).run()
    else:
        run(Path(out), controller, int(trials), **json.loads(arguments))


def log(study: Study) -> list[tuple[dict[str, Any], float | None]]:
    """Return parameters and value of each trial that is not repeated by another."""
    repeated = {trial.user_attrs.get(REPEATS) for trial in study.trials}
    return [(t.params, t.value) for t in study.trials if t.number not in repeated]


def genomes_of(study: Study) -> list[str]:
    """Return the genome id of each trial that trained a genome."""
    return [
        trial.user_attrs[GENOME_ID]
        for trial in study.trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        and DUPLICATE_OF not in trial.user_attrs
    ]


def new_study(sampler: SpaceSampler, direction: str = "maximize") -> Study:
    """Return a study in memory."""
    return optuna.create_study(direction=direction, sampler=sampler)


def choices(trial: Trial, space: SearchSpace = SPACE) -> tuple[int, ...]:
    """Ask a trial for the decisions of a space and return its choices."""
    return tuple(trial.suggest_categorical(d.name, range(d.size)) for d in space.decisions())


def ask_and_tell(study: Study, trials: int, space: SearchSpace = SPACE) -> list[tuple[int, ...]]:
    """Ask and tell in turn and return the choices.

    Each fifth trial fails, each seventh is pruned.
    """
    sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
    asked = []
    for _ in range(trials):
        trial = study.ask()
        asked.append(choices(trial, space))
        value = sign * reward(suggest(trial, space))
        if trial.number % 5 == 4:
            study.tell(trial, state=TrialState.FAIL)
        elif trial.number % 7 == 6:
            trial.report(value / 2, step=1)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)
    return asked


def placing(
    values: dict[str, list[float | None]], starts: tuple[str, ...] = (), rules: Rules = RULES
) -> Placing:
    """Return the result of a final in which the contenders of these names have these values."""
    genomes = [SPACE.sample(np.random.default_rng(number)) for number in range(len(values))]
    found = [
        Contender(name, genome, name, name in starts, number, 0.5)
        for number, (name, genome) in enumerate(zip(values, genomes, strict=True))
    ]
    results = {name: dict(enumerate(given, start=1)) for name, given in values.items()}
    state = standing(list(values), starts, results, rules)
    return places(found, state, results, rules)
