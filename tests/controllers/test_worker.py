"""The worker process survives its candidates."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controllers import worker as module
from controllers.worker import Job, Outcome, ProxyWorker
from synthetic import SPACE


@pytest.fixture
def worker() -> Iterator[ProxyWorker]:
    with ProxyWorker() as worker:
        yield worker


def job(tmp_path: Path, **arguments: Any) -> Job:
    return Job("synthetic:misbehave", arguments, tmp_path / "trial" / "log")


def good(tmp_path: Path) -> Job:
    from search_space import to_json

    genome = next(iter(SPACE.enumerate()))
    return Job("synthetic:evaluate", {"genome": to_json(genome)}, tmp_path / "log")


def wait_until(condition: Callable[[], bool]) -> None:
    """A minute is what a broken promise costs; a kept one takes milliseconds."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def alive(process: int) -> bool:
    """A killed process may stay in the table until its parent, now init, takes note."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def evaluated(worker: ProxyWorker, job: Job) -> Outcome:
    """Evaluate without a timeout; an evaluation that does not end fails here."""
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(worker.evaluate(job)), daemon=True)
    thread.start()
    thread.join(60)
    assert outcomes, "no outcome after a minute"
    return outcomes[0]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("raise", "RuntimeError: the loss is not finite"),
        ("kill", r"the worker process was killed by SIGKILL \(out of memory\?\)"),
        ("abort", "the worker process was killed by SIGABRT"),
        ("exit", "the worker process ended with exit code 7"),
        ("memory", "MemoryError"),
        ("text", "ValueError: could not convert string to float: 'high'"),
    ],
)
def test_a_failing_candidate_is_an_outcome_and_the_next_one_runs(
    worker: ProxyWorker, tmp_path: Path, how: str, error: str
) -> None:
    outcome = worker.evaluate(job(tmp_path, how=how), timeout=60)
    assert outcome.metrics is None
    assert outcome.error is not None
    assert re.match(error, outcome.error)
    assert worker.evaluate(good(tmp_path), timeout=60).metrics is not None


def test_a_hanging_candidate_is_killed_with_its_children(
    worker: ProxyWorker, tmp_path: Path
) -> None:
    note = tmp_path / "child"
    for timeout in (2, 20, 200):  # one of them is time enough to begin
        outcome = worker.evaluate(job(tmp_path, how="orphan", file=str(note)), timeout)
        assert outcome.error == f"no result within {timeout} s"
        if note.exists() and note.read_text():
            break
    wait_until(lambda: not alive(int(note.read_text())))
    assert worker.evaluate(good(tmp_path), timeout=60).error is None


def test_a_death_is_noticed_though_a_child_of_the_candidate_lives(
    worker: ProxyWorker, tmp_path: Path
) -> None:
    """Breaks if only the end of the answers tells: the child keeps their pipe open."""
    note = tmp_path / "child"
    outcome = evaluated(worker, job(tmp_path, how="die", file=str(note)))
    assert outcome.error == "the worker process was killed by SIGKILL (out of memory?)"
    wait_until(lambda: not alive(int(note.read_text())))
    assert worker.evaluate(good(tmp_path), timeout=60).error is None


def test_an_answer_from_before_the_death_is_read(
    worker: ProxyWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is killed with its answer in the pipe, which a child keeps open."""
    read_line = module._read_line

    def killed_first(child: subprocess.Popen[bytes], timeout: float | None) -> bytes | None:
        assert select.select([child.stdout], [], [], 60)[0]
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        return read_line(child, timeout)

    note = tmp_path / "child"
    with monkeypatch.context() as patch:
        patch.setattr(module, "_read_line", killed_first)
        outcome = evaluated(worker, job(tmp_path, how="leave", file=str(note)))
    assert outcome.metrics == {"AP": 0.5}
    assert worker.evaluate(good(tmp_path), timeout=60).error is None
    wait_until(lambda: not alive(int(note.read_text())))


def test_a_candidate_that_closes_its_answers_and_lives_is_killed(
    worker: ProxyWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENDING", 0.1)
    first = int(process_of(worker, tmp_path))
    outcome = evaluated(worker, job(tmp_path, how="close"))
    assert outcome.error == "the worker process closed the pipe of its answers and did not end"
    wait_until(lambda: not alive(first))
    assert worker.evaluate(good(tmp_path), timeout=60).error is None


def test_what_a_candidate_prints_goes_to_its_log_and_is_no_answer(
    worker: ProxyWorker, tmp_path: Path
) -> None:
    outcome = worker.evaluate(job(tmp_path, how="print"), timeout=60)
    assert outcome.metrics == {"AP": 0.5, "read": 0}  # its standard input is empty
    log = (tmp_path / "trial" / "log").read_text()
    assert '{"metrics": {"AP": 99}}' in log
    assert '{"metrics": {"AP": 98}}' in log
    assert "a warning" in log


def test_a_failure_leaves_its_traceback_in_the_log(worker: ProxyWorker, tmp_path: Path) -> None:
    worker.evaluate(job(tmp_path, how="raise"), timeout=60)
    assert "Traceback" in (tmp_path / "trial" / "log").read_text()
    worker.evaluate(job(tmp_path, how="abort"), timeout=60)
    assert "Fatal Python error: Aborted" in (tmp_path / "trial" / "log").read_text()


def process_of(worker: ProxyWorker, tmp_path: Path) -> float:
    metrics = worker.evaluate(good(tmp_path), timeout=60).metrics
    assert metrics is not None
    return metrics["process"]


def test_a_process_serves_so_many_candidates_and_none_after_a_failure(tmp_path: Path) -> None:
    with ProxyWorker(reuse=2) as worker:
        first, second, third = (process_of(worker, tmp_path) for _ in range(3))
        worker.evaluate(job(tmp_path, how="raise"), timeout=60)
        fourth = process_of(worker, tmp_path)
    assert first == second
    assert len({first, third, fourth}) == 3


def test_a_process_killed_between_candidates_is_replaced(
    worker: ProxyWorker, tmp_path: Path
) -> None:
    child = int(process_of(worker, tmp_path))
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert process_of(worker, tmp_path) != child


def test_an_unknown_function_is_an_outcome(worker: ProxyWorker, tmp_path: Path) -> None:
    outcome = worker.evaluate(Job("synthetic:nothing", {}, tmp_path / "log"))
    assert outcome.error is not None
    assert "nothing" in outcome.error


def test_the_child_ends_with_its_parent_in_the_middle_of_a_candidate(tmp_path: Path) -> None:
    note = tmp_path / "child"
    code = (
        "import sys; from pathlib import Path; from controllers.worker import Job, ProxyWorker; "
        f"job = Job('synthetic:misbehave', {{'how': 'orphan', 'file': {str(note)!r}}}, "
        f"Path({str(tmp_path / 'log')!r})); ProxyWorker().evaluate(job)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    wait_until(lambda: note.exists() and note.read_text() != "")
    grandchild = int(note.read_text())
    assert alive(grandchild)
    parent.kill()
    parent.wait()
    wait_until(lambda: not alive(grandchild))


def test_reuse_is_positive() -> None:
    with pytest.raises(ValueError, match="reuse is 1 or more, got 0"):
        ProxyWorker(reuse=0)
