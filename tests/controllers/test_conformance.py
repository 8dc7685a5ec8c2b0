"""What all samplers guarantee, whatever they learn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.trial import Trial, TrialState

import controllers
from controllers.samplers import SpaceSampler, distributions, suggest
from searches import ask_and_tell, choices, new_study
from synthetic import SPACE, reward

TRIALS = 26  # more than the random first trials (TPE 10, others 20 at most), and than PPO's batches


@pytest.fixture(params=controllers.names())
def make(request: pytest.FixtureRequest) -> Callable[[int], SpaceSampler]:
    return lambda seed: controllers.create_sampler(request.param, SPACE, seed)


def test_equal_seeds_propose_the_same_and_other_seeds_do_not(
    make: Callable[[int], SpaceSampler],
) -> None:
    first = ask_and_tell(new_study(make(3)), TRIALS)
    assert ask_and_tell(new_study(make(3)), TRIALS) == first
    for other in (4, (1 << 64) - 1):  # the largest that the commands take
        assert ask_and_tell(new_study(make(other)), TRIALS)[:5] != first[:5]
    assert len(set(first)) > TRIALS // 2


def test_minimising_the_negative_is_the_same_search(make: Callable[[int], SpaceSampler]) -> None:
    assert ask_and_tell(new_study(make(0)), TRIALS) == ask_and_tell(
        new_study(make(0), "minimize"), TRIALS
    )


def test_state_comes_from_the_log_alone(make: Callable[[int], SpaceSampler]) -> None:
    """A new sampler in the middle of a study continues as the first would have."""
    unbroken = ask_and_tell(new_study(make(1)), TRIALS)
    study = new_study(make(1))
    asked = ask_and_tell(study, TRIALS // 2)
    for _ in range(TRIALS - TRIALS // 2):
        study.sampler = make(1)
        asked += ask_and_tell(study, 1)
    assert asked == unbroken


def test_same_proposals_in_other_processes(
    make: Callable[[int], SpaceSampler], request: pytest.FixtureRequest
) -> None:
    """Fails if a proposal depends on the order of a set of strings."""
    name = request.node.callspec.params["make"]
    code = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[1]); import optuna; "
        "optuna.logging.disable_default_handler(); "
        "import controllers, searches, synthetic; "
        f"s = controllers.create_sampler({name!r}, synthetic.SPACE, 5); "
        f"print(json.dumps(searches.ask_and_tell(searches.new_study(s), {TRIALS})))"
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
    assert [tuple(c) for c in asked] == ask_and_tell(new_study(make(5)), TRIALS)


def test_interleaved_workers_and_late_results(make: Callable[[int], SpaceSampler]) -> None:
    """Three trials run at any time and finish in random order; the state depends on the log."""

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


def test_works_in_a_study_of_the_user(make: Callable[[int], SpaceSampler]) -> None:
    """The study has a parameter that is no decision, threads, and a trial that was queued."""
    study = new_study(make(0))
    wanted = {d.name: d.size - 1 for d in SPACE.decisions()}
    study.enqueue_trial(wanted)

    def objective(trial: Trial) -> float:
        return reward(suggest(trial, SPACE)) - trial.suggest_float("rate", 0, 1)

    study.optimize(objective, n_trials=13)
    study.optimize(objective, n_trials=12, n_jobs=2)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 25
    assert wanted.items() <= study.trials[0].params.items()
    # 20 random trials come first; later children of NSGA-II inherit the rate of a parent.
    assert len({trial.params["rate"] for trial in study.trials}) >= 20
    for trial in study.trials:
        assert trial.distributions.items() >= distributions(SPACE).items()


def test_a_study_whose_trials_all_fail_continues(make: Callable[[int], SpaceSampler]) -> None:
    study = new_study(make(0))
    asked = []
    for _ in range(12):
        trial = study.ask()
        asked.append(choices(trial))
        study.tell(trial, state=TrialState.FAIL)
    assert len(set(asked)) > 6


@pytest.mark.parametrize("name", ["random", "evolution", "local-search", "ppo", "gp"])
def test_several_objectives_are_refused(name: str) -> None:
    sampler = controllers.create_sampler(name, SPACE)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    with pytest.raises(ValueError, match="one objective, got one with 2"):
        suggest(study.ask(), SPACE)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"got 'evolutoin', did you mean evolution\?"):
        controllers.create_sampler("evolutoin", SPACE)


def test_a_seed_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match=r"seed must be .*from 0, got -1"):
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
