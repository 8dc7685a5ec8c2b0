"""The search around a controller: known genomes, resuming, several processes, best.json."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

import controllers
from controllers import worker
from controllers.best import save_best
from controllers.errors import SearchError
from controllers.samplers import REPEATS
from controllers.search import SearchSettings, search
from controllers.starts import contenders
from controllers.study import (
    AGAIN,
    DUPLICATE_OF,
    GENOME_ID,
    WORKER,
    locked,
    open_study,
    trained,
)
from search_space import Level, NASFPNSpace, WideSpace, genome_id, load_genome, to_json
from searches import Recorder, genomes_of, log, opened, run, settings, start
from synthetic import SPACE, evaluate, reward


@pytest.mark.slow
def test_best_json_and_the_folders_of_the_trials(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_text(path.read_text().replace('"level": 4', '"level": 3')),
        lambda path: path.write_text(path.read_text().replace('"value": ', '"value": 1')),
        lambda path: path.write_bytes(b"\xff no genome"),
        lambda path: path.write_bytes(b"\0" * 100),
    ],
    ids=["deleted", "another genome", "another value", "no genome", "NULs"],
)
def test_best_json_is_that_of_the_study_whatever_was_done_to_the_file(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    run(tmp_path, "random", 3)
    best = tmp_path / "best.json"
    before = best.read_bytes()
    damage(best)
    view = Recorder()
    search(opened(tmp_path), SPACE, settings(tmp_path, 3), view)  # nothing is left to train
    assert best.read_bytes() == before
    assert [note for note in view.notes if str(best) in note]
    written = best.stat().st_mtime_ns
    search(opened(tmp_path), SPACE, settings(tmp_path, 3))
    assert best.stat().st_mtime_ns == written


@pytest.mark.slow
def test_a_best_genome_that_was_not_written_is_written_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = run(tmp_path / "whole", "random", 6).best_trial.number
    whole = (tmp_path / "whole" / "best.json").read_bytes()
    saves = 0

    def save_or_end(*arguments: Any) -> bool:
        nonlocal saves
        saves += 1
        if saves == best + 2:  # the first is at the start; the study has the value of the best
            raise SystemExit
        return save_best(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("controllers.search.save_best", save_or_end)
        with pytest.raises(SystemExit):
            run(tmp_path / "out", "random", best + 1)
    written = tmp_path / "out" / "best.json"
    assert not written.exists() or written.read_bytes() != whole
    assert len(trained(run(tmp_path / "out", "random", best + 1))) == best + 1  # none is left
    assert written.read_bytes() == whole


@pytest.mark.slow
def test_a_search_of_the_wide_space_trains_each_genome_once(tmp_path: Path) -> None:
    """Many choices make one genome, so the genomes are compared and not the choices."""
    space = WideSpace((Level(3), Level(4)), 1, ops=("sum",))  # 6 + 36 genomes
    study = open_study(tmp_path, {}, controllers.TPESampler(space))
    search(study, space, SearchSettings(tmp_path, 25, {}, "synthetic:evaluate", duplicates=60))
    genomes = genomes_of(study)
    assert len(set(genomes)) == len(genomes) == 25
    assert any(DUPLICATE_OF in trial.user_attrs for trial in study.trials)
    best = load_genome(tmp_path / "best.json")
    assert space.contains(best)
    assert reward(best) == study.best_value
    assert genome_id(best) in genomes


@pytest.mark.slow
def test_known_genomes_are_scored_without_training(tmp_path: Path) -> None:
    """Evolution on a space of 24 genomes proposes many of them again."""
    space = NASFPNSpace((Level(3), Level(4)), intermediate_cells=0)
    study = open_study(tmp_path, {}, controllers.RegularizedEvolutionSampler(space))
    assert space.size() == 24  # C(2,2) C(3,2) pairs, 2! orders, 2 ** 2 ops
    limits = SearchSettings(tmp_path, 100, {}, "synthetic:evaluate", duplicates=60)
    view = Recorder()
    search(study, space, limits, view)
    genomes = genomes_of(study)
    assert view.advanced == len(genomes) == len(trained(study))
    assert sum("is not trained again" in note for note in view.notes) >= 60
    assert "60 proposals" in view.notes[-1]
    assert len(set(genomes)) == len(genomes) <= space.size()
    duplicates = [trial for trial in study.trials if DUPLICATE_OF in trial.user_attrs]
    assert len(duplicates) >= 60
    for trial in duplicates:
        original = study.trials[trial.user_attrs[DUPLICATE_OF]]
        assert trial.value == original.value
        assert trial.user_attrs[GENOME_ID] == original.user_attrs[GENOME_ID]
        assert DUPLICATE_OF not in original.user_attrs


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_controller_may_have_a_genome_trained_again_with_another_seed(
    processes: int, tmp_path: Path
) -> None:
    """Such a training is a trial; its seed is none of the search's others or of a final."""
    given: dict[str, Any] = {"seed": 3, "noise": 2.0}
    more = [start(tmp_path, "local-search", 40, **given) for _ in range(processes - 1)]
    run(tmp_path, "local-search", 40, **given)
    assert [process.wait() for process in more] == [0] * (processes - 1)
    study = opened(tmp_path, "local-search")
    values: dict[str, list[float]] = {}
    numbers: dict[str, list[int]] = {}
    for trial in trained(study):
        again = trial.user_attrs.get(AGAIN, 0)
        genome = load_genome(tmp_path / "trials" / str(trial.number) / "genome.json")
        arguments = {"genome": to_json(genome), "noise": 2.0, "seed": (3 - again) % 2**64}
        assert trial.value == evaluate(arguments)["AP"]
        values.setdefault(trial.user_attrs[GENOME_ID], []).append(trial.value)
        numbers.setdefault(trial.user_attrs[GENOME_ID], []).append(again)
    assert sum(map(len, values.values())) == 40
    assert all(sorted(each) == list(range(len(each))) for each in numbers.values())
    assert sum(len(each) > 1 for each in values.values()) >= 2
    assert not [trial for trial in study.trials if DUPLICATE_OF in trial.user_attrs]
    means = {identity: sum(each) / len(each) for identity, each in values.items()}
    best = json.loads((tmp_path / "best.json").read_text())["meta"]
    assert (best["genome_id"], best["value"]) == max(means.items(), key=lambda item: item[1])
    leader = contenders(study, SPACE, 1)[0]
    assert (leader.identity, leader.value) == (best["genome_id"], best["value"])


@pytest.mark.slow
def test_trials_count_all_runs_together(tmp_path: Path) -> None:
    run(tmp_path, "random", 5)
    study = run(tmp_path, "random", 8)
    assert len(genomes_of(study)) == 8
    assert len(run(tmp_path, "random", 8).trials) == len(study.trials)


@pytest.mark.slow
def test_candidates_that_keep_failing_end_the_search(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"5 candidates in a row failed.*finite'; see .*log"):
        run(tmp_path, "random", 8, evaluate="misbehave", how="raise")
    study = opened(tmp_path)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 5
    assert study.trials[0].user_attrs["error"] == "RuntimeError: the loss is not finite"


def test_a_metric_that_is_missing_is_a_failure(tmp_path: Path) -> None:
    study = opened(tmp_path)
    limits = SearchSettings(tmp_path, 1, {}, "synthetic:evaluate", metric="AP75", failures=1)
    with pytest.raises(SearchError, match=r"AP75 .*got None"):
        search(study, SPACE, limits)


@pytest.mark.slow
@pytest.mark.parametrize("controller", ["evolution", "nsga2", "ppo", "local-search"])
def test_killed_and_resumed_is_the_search_never_interrupted(
    tmp_path: Path, controller: str
) -> None:
    """SIGKILL in the middle of two candidates; fails if indices or populations shift."""
    noisy: dict[str, Any] = {"seed": 0, "noise": 1.0}
    unbroken = run(tmp_path / "unbroken", controller, 34, **noisy)
    out = tmp_path / "killed"
    for stop in (12, 28):
        process = start(out, controller, 34, hang_in=str(stop), **noisy)
        while process.poll() is None and not (out / "trials" / str(stop) / "log").exists():
            time.sleep(0.01)
        process.kill()
        process.wait()
    study = run(out, controller, 34, **noisy)
    assert sum(REPEATS in trial.user_attrs for trial in study.trials) == 2
    assert log(study) == log(unbroken)
    assert load_genome(out / "best.json") == load_genome(tmp_path / "unbroken" / "best.json")


@pytest.mark.slow
def test_two_processes_on_one_study_train_nothing_twice(tmp_path: Path) -> None:
    together: dict[str, Any] = {"seconds": 0.02, "meet_in": "0"}
    processes = [start(tmp_path, "evolution", 40, **together) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    study = opened(tmp_path, "evolution")
    assert 39 <= len(genomes_of(study)) <= 40
    assert len(set(genomes_of(study))) == len(genomes_of(study))
    assert len({trial.user_attrs[WORKER] for trial in study.trials}) == 2
    assert not [trial for trial in study.trials if trial.state == TrialState.RUNNING]
    assert list((tmp_path / "workers").iterdir()) == []


@pytest.mark.slow
def test_a_final_waits_for_the_trials_of_others_and_repeats_those_of_the_dead(
    tmp_path: Path,
) -> None:
    """The other process hangs in trial 0; it is killed when this one waits for it."""
    other = start(tmp_path, "random", 2, hang_in="0")
    while not (tmp_path / "trials" / "0" / "log").exists():
        assert other.poll() is None
        time.sleep(0.01)

    class Killing(Recorder):
        def note(self, text: str) -> None:
            super().note(text)
            if text.startswith("waiting for trial 0"):
                other.kill()
                other.wait()

    view, study = Killing(), opened(tmp_path)
    search(study, SPACE, replace(settings(tmp_path, 2), wait=True), view)
    assert other.poll() is not None
    assert len(genomes_of(study)) == 2
    assert study.trials[2].user_attrs[REPEATS] == 0
    assert len(run(tmp_path / "alone", "random", 2).trials) == 2
    assert {*map(str, log(study))} == {*map(str, log(opened(tmp_path / "alone")))}


def test_threads_of_a_process_ask_one_at_a_time(tmp_path: Path) -> None:
    """No other may ask until it is known whether the genome is new; fails with ``lockf``."""
    study = opened(tmp_path)
    args = (study, SPACE, settings(tmp_path, 2))
    thread = threading.Thread(target=search, args=args)
    with locked(tmp_path):
        thread.start()
        time.sleep(1)  # enough to ask without the lock; with it the thread waits anyway
        assert study.trials == []
    thread.join()
    assert len(genomes_of(study)) == 2


def test_a_view_sees_each_epoch_of_a_candidate_and_the_end_of_each_trial(tmp_path: Path) -> None:
    view = Recorder()
    study = opened(tmp_path)
    search(study, SPACE, settings(tmp_path, 2, "evaluate_in_epochs", epochs=3), view)
    for number in (0, 1):
        shown = [p.report for p in view.seen if p.trial == number]
        assert shown[0] == {}
        reports = [report for report in shown if report]
        assert [report["epoch"] for report in reports] == [1, 2, 3]
        assert reports[-1] == {"epoch": 3, "epochs": 3, "loss": 1 / 3}
    assert view.advanced == 2
    assert [note.split(" after ")[0] for note in view.notes] == [
        f"trial {trial.number}: value {trial.value:.4f}" for trial in study.trials
    ]
    best = study.best_trial
    assert view.notes[-1].endswith(f"best is trial {best.number} with {best.value:.4f}")


def test_the_time_of_a_report_is_kept_until_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A candidate is shown between its reports, but the estimate uses the time of the last."""
    monkeypatch.setattr(worker, "LOOK", 0.05)
    view = Recorder()
    job = {"epochs": 2, "seconds": 1}
    search(opened(tmp_path), SPACE, settings(tmp_path, 1, "evaluate_in_epochs", **job), view)
    first = [p for p in view.seen if p.report.get("epoch") == 1]
    assert len(first) >= 2
    assert len({p.reported for p in first}) == 1
    assert first[0].reported == first[0].seconds < first[-1].seconds
    assert first[-1].duration == 2 * first[0].seconds


@pytest.mark.slow
def test_a_view_sees_failures_and_repetitions(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.ask()
    view = Recorder()
    with pytest.raises(SearchError):
        search(study, SPACE, settings(tmp_path, 9, "misbehave", how="raise"), view)
    assert "trial 0 was interrupted" in view.notes[0]
    assert all(re.match(r"trial \d failed .*the loss is not finite", n) for n in view.notes[1:])
    assert view.advanced == 0
