"""Several workers of one process: their cores, how they end together, and the same results."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from controllers import crew
from controllers.errors import SearchError
from controllers.samplers import REPEATS
from controllers.search import search
from controllers.study import GENOME_ID
from controllers.worker import Job, ProxyWorker
from runs import wait_until
from searches import Recorder, final, opened, run, settings
from synthetic import SPACE


@contextmanager
def interrupt(when: Callable[[], bool]) -> Iterator[None]:
    """Send SIGINT to this process, as Ctrl-C does, once ``when`` returns True."""

    def wait() -> None:
        wait_until(when)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def hang(worker: ProxyWorker, folder: Path) -> None:
    """Evaluate a candidate that never ends; ``folder/name/log`` exists once it has started."""
    job = Job("synthetic:misbehave", {"how": "hang"}, folder / threading.current_thread().name)
    worker.evaluate(job)


@pytest.mark.parametrize("workers", range(1, 8))
def test_each_core_belongs_to_one_worker(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = {0, 2, 3, 5, 8, 9, 11}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    shares = crew.cores_of(workers)
    assert sorted(core for share in shares for core in share) == sorted(cores)
    sizes = sorted(map(len, shares))
    assert len(sizes) == workers
    assert sizes[-1] - sizes[0] <= 1


def test_a_child_has_the_cores_of_its_worker_and_a_thread_for_each(tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    with ProxyWorker(cores=(core,)) as worker:
        outcome = worker.evaluate(Job("synthetic:place", {}, tmp_path / "log"), timeout=60)
    assert outcome.metrics == {"cores": 1 << core, "threads": 1}
    assert core in os.sched_getaffinity(0)


def test_workers_run_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=60)
    crew.run(3, lambda worker: bool(meeting.wait()))


def test_the_error_of_one_ends_the_others(tmp_path: Path) -> None:
    turns = iter(range(3))

    def work(worker: ProxyWorker) -> None:
        turn = next(turns)
        if turn == 0:
            hang(worker, tmp_path)
        while turn == 1:
            worker.pause()
        while not list(tmp_path.iterdir()):
            worker.pause()
        raise SearchError("the data have changed")

    with pytest.raises(SearchError, match="the data have changed"):
        crew.run(3, work)


def test_an_interrupt_ends_all(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), interrupt(lambda: len(list(tmp_path.iterdir())) == 2):
        crew.run(2, lambda worker: hang(worker, tmp_path))


@pytest.mark.slow
def test_a_search_with_workers_trains_each_genome_once_and_no_more_than_asked(
    tmp_path: Path,
) -> None:
    """Trial 0 ends only after another was started while it ran."""
    study = opened(tmp_path / "out")
    search(study, SPACE, replace(settings(tmp_path / "out", 12, meet_in="0"), workers=3))
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    assert len(trials) == 12 == len({trial.user_attrs[GENOME_ID] for trial in trials})
    assert len({trial.user_attrs["metrics"]["process"] for trial in trials}) > 1


@pytest.mark.slow
def test_an_interrupted_search_with_workers_repeats_what_ran(tmp_path: Path) -> None:
    out, view = tmp_path / "out", Recorder()
    limits = replace(settings(out, 6, hang_in="3"), workers=2)
    with pytest.raises(KeyboardInterrupt), interrupt(lambda: view.advanced == 5):
        search(opened(out), SPACE, limits, view)
    search(opened(out), SPACE, replace(settings(out, 6), workers=2))
    trials = opened(out).trials
    assert [trial.number for trial in trials if trial.state == TrialState.FAIL] == [3]
    repeated = [trial for trial in trials if trial.user_attrs.get(REPEATS) == 3]
    assert [trial.params for trial in repeated] == [trials[3].params]
    assert len(trials) == 7


@pytest.mark.slow
def test_a_final_with_workers_ends_as_with_one(tmp_path: Path) -> None:
    run(tmp_path / "out", "random", 6)
    results = []
    for workers in (1, 3):
        race = final(Path(shutil.copytree(tmp_path / "out", tmp_path / str(workers))), noise=0.5)
        race.settings = replace(race.settings, workers=workers)
        placing = race.run()
        assert placing is not None
        results.append((race.results(), [place.contender.identity for place in placing.places]))
    assert results[0] == results[1]
