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
from search_space import SearchSpace
from searches import ask_and_tell, choices, new_study
from synthetic import SPACE, WIDE, reward

TRIALS = 26  # more than the random first trials (TPE 10, others 20 at most), and than PPO's batches
SPACES: dict[str, SearchSpace] = {"paper": SPACE, "wide": WIDE}

Make = Callable[[int], SpaceSampler]


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES[request.param]


@pytest.fixture(params=controllers.names())
def make(request: pytest.FixtureRequest, space: SearchSpace) -> Make:
    return lambda seed: controllers.create_sampler(request.param, space, seed)


@pytest.mark.slow
def test_equal_seeds_propose_the_same_and_other_seeds_do_not(
    make: Make, space: SearchSpace
) -> None:
    first = ask_and_tell(new_study(make(3)), TRIALS, space)
    assert ask_and_tell(new_study(make(3)), TRIALS, space) == first
    for other in (4, (1 << 64) - 1):  # the largest that the commands take
        assert ask_and_tell(new_study(make(other)), TRIALS, space)[:5] != first[:5]
    assert len(set(first)) > TRIALS // 2


@pytest.mark.slow
def test_minimising_the_negative_is_the_same_search(make: Make, space: SearchSpace) -> None:
    assert ask_and_tell(new_study(make(0)), TRIALS, space) == ask_and_tell(
        new_study(make(0), "minimize"), TRIALS, space
    )


@pytest.mark.slow
def test_state_comes_from_the_log_alone(make: Make, space: SearchSpace) -> None:
    """A new sampler in the middle of a study continues as the first would have."""
    unbroken = ask_and_tell(new_study(make(1)), TRIALS, space)
    study = new_study(make(1))
    asked = ask_and_tell(study, TRIALS // 2, space)
    for _ in range(TRIALS - TRIALS // 2):
        study.sampler = make(1)
        asked += ask_and_tell(study, 1, space)
    assert asked == unbroken


@pytest.mark.slow
@pytest.mark.parametrize("name", controllers.names())
def test_same_proposals_in_other_processes(name: str) -> None:
    """Fails if a proposal depends on the order of a set of strings."""
    code = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[1]); import optuna; "
        "optuna.logging.disable_default_handler(); "
        "import controllers, searches, synthetic; "
        "spaces = synthetic.SPACE, synthetic.WIDE; "
        f"made = [controllers.create_sampler({name!r}, space, 5) for space in spaces]; "
        f"asked = [searches.ask_and_tell(searches.new_study(s), {TRIALS}, s.space) for s in made]; "
        "print(json.dumps(asked))"
    )
    path = json.dumps(sys.path)
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, path],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    for asked, space in zip(
        json.loads(process.stdout.splitlines()[-1]), SPACES.values(), strict=True
    ):
        here = ask_and_tell(new_study(controllers.create_sampler(name, space, 5)), TRIALS, space)
        assert [tuple(c) for c in asked] == here


@pytest.mark.slow
def test_interleaved_workers_and_late_results(make: Make, space: SearchSpace) -> None:
    """Three trials run at any time and finish in random order; the state depends on the log."""

    def work(fresh: bool) -> list[tuple[int, ...]]:
        study, rng = new_study(make(2)), np.random.default_rng(0)
        hand: list[Trial] = []
        asked = []
        for _ in range(TRIALS):
            if fresh:
                study.sampler = make(2)
            hand.append(study.ask())
            asked.append(choices(hand[-1], space))
            if len(hand) == 3:
                trial = hand.pop(int(rng.integers(3)))
                study.tell(trial, reward(suggest(trial, space)))
        return asked

    asked = work(fresh=False)
    assert len(set(asked)) > TRIALS // 2
    assert work(fresh=True) == asked


@pytest.mark.slow
def test_works_in_a_study_of_the_user(make: Make, space: SearchSpace) -> None:
    """The study has a parameter that is no decision, threads, and a trial that was queued."""
    study = new_study(make(0))
    wanted = {d.name: d.size - 1 for d in space.decisions()}
    study.enqueue_trial(wanted)

    def objective(trial: Trial) -> float:
        return reward(suggest(trial, space)) - trial.suggest_float("rate", 0, 1)

    study.optimize(objective, n_trials=13)
    study.optimize(objective, n_trials=12, n_jobs=2)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 25
    assert wanted.items() <= study.trials[0].params.items()
    # 20 random trials come first; later children of NSGA-II inherit the rate of a parent.
    assert len({trial.params["rate"] for trial in study.trials}) >= 20
    for trial in study.trials:
        assert trial.distributions.items() >= distributions(space).items()


def test_a_study_whose_trials_all_fail_continues(make: Make, space: SearchSpace) -> None:
    study = new_study(make(0))
    asked = []
    for _ in range(12):
        trial = study.ask()
        asked.append(choices(trial, space))
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
