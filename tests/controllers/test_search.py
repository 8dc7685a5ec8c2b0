"""The search around a controller: known genomes, resuming, several workers, best.json."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.study import Study
from optuna.trial import TrialState

import controllers
from controllers.errors import SearchError, StudyError
from controllers.samplers import REPEATS, suggest
from controllers.search import SearchSettings, search
from controllers.study import DUPLICATE_OF, GENOME_ID, WORKER, Presence, locked, open_study, recover
from search_space import genome_id, load_genome
from synthetic import SPACE, reward

# Runs a search in a process of its own: folder, controller, trials, arguments (JSON).
PROGRAM = """
import json, sys
from pathlib import Path
import optuna, synthetic, test_search as t
from synthetic import SPACE, reward
optuna.logging.set_verbosity(optuna.logging.WARNING)
out, controller, trials, arguments = sys.argv[1:]
t.run(Path(out), controller, int(trials), **json.loads(arguments))
"""


def settings(out: Path, trials: int, evaluate: str = "evaluate", **arguments: Any) -> Any:
    return SearchSettings(out, trials, arguments, f"synthetic:{evaluate}")


def opened(out: Path, controller: str = "random", seed: int = 0, **identity: Any) -> Study:
    identity = {"controller": controller, "seed": seed, "recipe": {"epochs": 3}, **identity}
    return open_study(out, identity, controllers.create_sampler(controller, SPACE, seed))


def run(out: Path, controller: str, trials: int, **arguments: Any) -> Study:
    study = opened(out, controller)
    search(study, SPACE, settings(out, trials, **arguments), progress=False)
    return study


def start(out: Path, controller: str, trials: int, **arguments: Any) -> subprocess.Popen[bytes]:
    given = (str(out), controller, str(trials), json.dumps(arguments))
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, *given],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def log(study: Study) -> list[tuple[dict[str, Any], float | None]]:
    """Return parameters and value of every trial that none repeats."""
    repeated = {trial.user_attrs.get(REPEATS) for trial in study.trials}
    return [(t.params, t.value) for t in study.trials if t.number not in repeated]


def trained(study: Study) -> list[str]:
    return [
        trial.user_attrs[GENOME_ID]
        for trial in study.trials
        if trial.state == TrialState.COMPLETE and DUPLICATE_OF not in trial.user_attrs
    ]


def test_best_json_and_the_trials_folders(tmp_path: Path) -> None:
    study = run(tmp_path, "evolution", 30)
    best = load_genome(tmp_path / "best.json")
    assert reward(best) == study.best_value == max(t.value or 0 for t in study.trials)
    meta = json.loads((tmp_path / "best.json").read_text())["meta"]
    assert meta == {
        "controller": "evolution",
        "seed": 0,
        "recipe": {"epochs": 3},
        "trial": study.best_trial.number,
        "value": study.best_value,
        "genome_id": genome_id(best),
    }
    for trial in study.trials:
        if DUPLICATE_OF not in trial.user_attrs:
            genome = load_genome(tmp_path / "trials" / str(trial.number) / "genome.json")
            assert SPACE.encode(genome) == SPACE.encode(SPACE.decode(trial.params))
            assert trial.user_attrs["metrics"]["AP"] == trial.value == reward(genome)


def test_known_genomes_are_told_not_trained(tmp_path: Path) -> None:
    """Evolution on a space of 24 genomes proposes many of them again."""
    from search_space import Level, NASFPNSpace

    space = NASFPNSpace((Level(3), Level(4)), intermediate_cells=0)
    study = open_study(tmp_path, {}, controllers.RegularizedEvolutionSampler(space))
    assert space.size() == 24  # C(2,2) C(3,2) pairs, 2! orders, 2 ** 2 ops
    limits = SearchSettings(tmp_path, 100, {}, "synthetic:evaluate", duplicates=60)
    search(study, space, limits, progress=False)
    genomes = trained(study)
    assert len(set(genomes)) == len(genomes) <= space.size()
    duplicates = [trial for trial in study.trials if DUPLICATE_OF in trial.user_attrs]
    assert len(duplicates) >= 60
    for trial in duplicates:
        original = study.trials[trial.user_attrs[DUPLICATE_OF]]
        assert trial.value == original.value
        assert trial.user_attrs[GENOME_ID] == original.user_attrs[GENOME_ID]
        assert DUPLICATE_OF not in original.user_attrs


def test_trials_count_all_runs_together(tmp_path: Path) -> None:
    run(tmp_path, "random", 5)
    study = run(tmp_path, "random", 8)
    assert len(trained(study)) == 8
    assert len(run(tmp_path, "random", 8).trials) == len(study.trials)


def test_candidates_that_keep_failing_end_the_search(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"5 candidates in a row failed.*finite'; see .*log"):
        run(tmp_path, "random", 8, evaluate="misbehave", how="raise")
    study = opened(tmp_path)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 5
    assert study.trials[0].user_attrs["error"] == "RuntimeError: the loss is not finite"


def test_a_metric_that_is_missing_is_a_failure(tmp_path: Path) -> None:
    study = opened(tmp_path)
    limits = SearchSettings(tmp_path, 1, {}, "synthetic:evaluate", metric="AP75", failures=1)
    with pytest.raises(SearchError, match="AP75 is a finite number, got None"):
        search(study, SPACE, limits, progress=False)


@pytest.mark.parametrize("controller", ["evolution", "nsga2", "ppo"])
def test_killed_and_resumed_is_the_search_never_interrupted(
    tmp_path: Path, controller: str
) -> None:
    """SIGKILL in the middle of a candidate, twice; breaks if indices or populations shift."""
    whole = run(tmp_path / "whole", controller, 34)
    out = tmp_path / "killed"
    for stop in (12, 28):
        process = start(out, controller, 34, hang_in=str(stop))
        while process.poll() is None and not (out / "trials" / str(stop) / "log").exists():
            time.sleep(0.01)
        process.kill()
        process.wait()
    study = run(out, controller, 34)
    assert sum(REPEATS in trial.user_attrs for trial in study.trials) == 2
    assert log(study) == log(whole)
    assert load_genome(out / "best.json") == load_genome(tmp_path / "whole" / "best.json")


def test_two_processes_on_one_study_train_nothing_twice(tmp_path: Path) -> None:
    together: dict[str, Any] = {"seconds": 0.02, "meet_in": "0"}
    processes = [start(tmp_path, "local-search", 40, **together) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    study = opened(tmp_path, "local-search")
    assert 39 <= len(trained(study)) <= 40
    assert len(set(trained(study))) == len(trained(study))
    assert len({trial.user_attrs[WORKER] for trial in study.trials}) == 2
    assert not [trial for trial in study.trials if trial.state == TrialState.RUNNING]
    assert list((tmp_path / "workers").iterdir()) == []


def test_workers_ask_one_at_a_time(tmp_path: Path) -> None:
    """Between asking and knowing that a genome is new, nobody else may ask."""
    study = opened(tmp_path)
    args = (study, SPACE, settings(tmp_path, 2))
    thread = threading.Thread(target=search, args=args, kwargs={"progress": False})
    with locked(tmp_path):
        thread.start()
        time.sleep(1)  # time enough to break the rule; who keeps it waits in any case
        assert study.trials == []
    thread.join()
    assert len(trained(study)) == 2


def test_a_trial_of_a_living_worker_is_left_alone(tmp_path: Path) -> None:
    study = opened(tmp_path)
    with Presence(tmp_path) as other, Presence(tmp_path) as me, locked(tmp_path):
        trial = study.ask()
        assert recover(study, me) == []  # not claimed yet, and others live
        trial.set_user_attr(WORKER, other.name)
        suggest(trial, SPACE)
        assert recover(study, me) == []
    (tmp_path / "workers" / other.name).touch()  # as if the other had been killed
    with Presence(tmp_path) as me, locked(tmp_path):
        assert recover(study, me) == [trial.number]
        assert recover(study, me) == []
        again = study.ask()
        assert suggest(again, SPACE) == SPACE.decode(trial.params)


def test_a_trial_nobody_claimed_is_repeated_once_nobody_else_lives(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.ask()
    with Presence(tmp_path) as me:
        assert recover(study, me) == [0]


def test_a_trial_of_another_machine_is_left_alone(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.ask().set_user_attr(WORKER, "elsewhere")
    with Presence(tmp_path) as me:
        assert recover(study, me) == []


def test_another_search_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    opened(tmp_path)
    with pytest.raises(StudyError, match=r"recipe\.epochs 4 where .* has 3; choose another"):
        opened(tmp_path, recipe={"epochs": 4})
    with pytest.raises(StudyError, match=r"controller 'ppo' where .* has 'random'"):
        opened(tmp_path, "ppo")


def test_a_journal_whose_last_line_is_torn_is_read(tmp_path: Path) -> None:
    """What a full disk leaves; Optuna alone would refuse the file for good."""
    before = log(run(tmp_path, "random", 3))
    with open(tmp_path / "study.journal", "ab") as file:
        file.write(b'{"op_code": 5, "worker_id": "x')
    assert log(opened(tmp_path)) == before
    assert log(run(tmp_path, "random", 4))[:3] == before


def test_a_storage_url_serves_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = open_study(tmp_path / "x", {}, controllers.RandomSampler(SPACE), url)
    search(study, SPACE, settings(tmp_path / "x", 3), progress=False)
    assert len(optuna.load_study(study_name="x", storage=url).trials) == 3


def test_a_storage_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="storage nope://x cannot be opened"):
        open_study(tmp_path, {}, optuna.samplers.RandomSampler(), "nope://x")
