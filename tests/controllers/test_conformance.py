"""What every sampler promises, whatever it learns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.study import Study
from optuna.trial import Trial, TrialState

import controllers
from controllers.samplers import SpaceSampler, distributions, suggest
from synthetic import SPACE, reward

TRIALS = 26  # more than TPE's 10 and the others' 20 trials drawn evenly first, than PPO's batches


@pytest.fixture(params=controllers.names())
def make(request: pytest.FixtureRequest) -> Callable[[int], SpaceSampler]:
    return lambda seed: controllers.create_sampler(request.param, SPACE, seed)


def new_study(sampler: SpaceSampler, direction: str = "maximize") -> Study:
    return optuna.create_study(direction=direction, sampler=sampler)


def choices(trial: Trial) -> tuple[int, ...]:
    return tuple(trial.suggest_categorical(d.name, range(d.size)) for d in SPACE.decisions())


def run(study: Study, trials: int) -> list[tuple[int, ...]]:
    """Ask and tell in turn; every fifth trial fails, every seventh is pruned."""
    sign = 1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1
    asked = []
    for _ in range(trials):
        trial = study.ask()
        asked.append(choices(trial))
        value = sign * reward(suggest(trial, SPACE))
        if trial.number % 5 == 4:
            study.tell(trial, state=TrialState.FAIL)
        elif trial.number % 7 == 6:
            trial.report(value / 2, step=1)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)
    return asked


def test_same_seed_same_proposals_and_another_seed_others(
    make: Callable[[int], SpaceSampler],
) -> None:
    first = run(new_study(make(3)), TRIALS)
    assert run(new_study(make(3)), TRIALS) == first
    assert run(new_study(make(4)), TRIALS)[:5] != first[:5]
    assert len(set(first)) > TRIALS // 2


def test_minimising_the_negative_is_the_same_search(make: Callable[[int], SpaceSampler]) -> None:
    assert run(new_study(make(0)), TRIALS) == run(new_study(make(0), "minimize"), TRIALS)


def test_state_comes_from_the_log_alone(make: Callable[[int], SpaceSampler]) -> None:
    """A sampler made in the middle goes on as the first would have."""
    whole = run(new_study(make(1)), TRIALS)
    study = new_study(make(1))
    asked = run(study, TRIALS // 2)
    for _ in range(TRIALS - TRIALS // 2):
        study.sampler = make(1)
        asked += run_one(study)
    assert asked == whole


def run_one(study: Study) -> list[tuple[int, ...]]:
    return run(study, 1)


def test_same_proposals_in_other_processes(
    make: Callable[[int], SpaceSampler], request: pytest.FixtureRequest
) -> None:
    """Breaks if anything hangs on the order of a set of strings."""
    name = request.node.callspec.params["make"]
    code = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[1]); import optuna; "
        "optuna.logging.disable_default_handler(); "
        "import controllers, synthetic, test_conformance as t; "
        f"s = controllers.create_sampler({name!r}, synthetic.SPACE, 5); "
        f"print(json.dumps(t.run(t.new_study(s), {TRIALS})))"
    )
    path = json.dumps(sys.path)
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, path],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    asked = json.loads(process.stdout.splitlines()[-1])
    assert [tuple(c) for c in asked] == run(new_study(make(5)), TRIALS)


def test_interleaved_workers_and_late_results(make: Callable[[int], SpaceSampler]) -> None:
    """Three trials in hand at any time, told in a random order; the state follows the log."""

    def work(fresh: bool) -> list[tuple[int, ...]]:
        study, rng = new_study(make(2)), np.random.default_rng(0)
        hand: list[Trial] = []
        asked = []
        for _ in range(TRIALS):
            if fresh:
                study.sampler = make(2)
            hand.append(study.ask())
            asked.append(choices(hand[-1]))
            if len(hand) == 3:
                trial = hand.pop(int(rng.integers(3)))
                study.tell(trial, reward(suggest(trial, SPACE)))
        return asked

    asked = work(fresh=False)
    assert len(set(asked)) > TRIALS // 2
    assert work(fresh=True) == asked


def test_serves_a_study_of_ones_own(make: Callable[[int], SpaceSampler]) -> None:
    """With a parameter that is no decision, threads, and a trial that the user queues."""
    study = new_study(make(0))
    wanted = {d.name: d.size - 1 for d in SPACE.decisions()}
    study.enqueue_trial(wanted)

    def objective(trial: Trial) -> float:
        return reward(suggest(trial, SPACE)) - trial.suggest_float("rate", 0, 1)

    study.optimize(objective, n_trials=13)
    study.optimize(objective, n_trials=12, n_jobs=2)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 25
    assert wanted.items() <= study.trials[0].params.items()
    assert len({trial.params["rate"] for trial in study.trials}) == 25
    for trial in study.trials:
        assert trial.distributions.items() >= distributions(SPACE).items()


def test_a_study_that_only_fails_goes_on(make: Callable[[int], SpaceSampler]) -> None:
    study = new_study(make(0))
    asked = []
    for _ in range(12):
        trial = study.ask()
        asked.append(choices(trial))
        study.tell(trial, state=TrialState.FAIL)
    assert len(set(asked)) > 6


@pytest.mark.parametrize("name", ["random", "evolution", "local-search", "ppo"])
def test_several_values_are_refused(name: str) -> None:
    sampler = controllers.create_sampler(name, SPACE)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    with pytest.raises(ValueError, match="searches for one value, got a study with 2"):
        suggest(study.ask(), SPACE)


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"got 'evolutoin'; did you mean evolution\?"):
        controllers.create_sampler("evolutoin", SPACE)


def test_a_seed_is_a_natural_number() -> None:
    with pytest.raises(ValueError, match="a seed is an integer from 0, got -1"):
        controllers.RandomSampler(SPACE, -1)


def test_importing_controllers_does_not_import_mindspore() -> None:
    code = "import sys, controllers; print('mindspore' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.strip() == "False"
