"""The worker process survives its candidates, and passes on what they report."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from controllers import worker as module
from controllers.worker import Job, LineReader, Outcome, ProxyWorker
from runs import wait_until
from search_space import to_json
from synthetic import SPACE


@pytest.fixture
def worker() -> Iterator[ProxyWorker]:
    with ProxyWorker() as worker:
        yield worker


def job(tmp_path: Path, **arguments: Any) -> Job:
    return Job("synthetic:misbehave", arguments, tmp_path / "trial" / "log")


def good(tmp_path: Path) -> Job:
    genome = next(iter(SPACE.enumerate()))
    return Job("synthetic:evaluate", {"genome": to_json(genome)}, tmp_path / "log")


def alive(process: int) -> bool:
    """Return whether a process runs; a killed one may stay as a zombie until init reaps it."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def evaluated(worker: ProxyWorker, job: Job) -> Outcome:
    """Evaluate without a timeout; fail if the evaluation does not end."""
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(worker.evaluate(job)), daemon=True)
    thread.start()
    thread.join(60)
    assert outcomes, "no outcome after a minute"
    return outcomes[0]


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_hanging_candidate_is_killed_with_its_children(
    worker: ProxyWorker, tmp_path: Path
) -> None:
    note = tmp_path / "child"
    for timeout in (2, 20, 200):  # one of them is enough to start the child
        outcome = worker.evaluate(job(tmp_path, how="orphan", file=str(note)), timeout)
        assert outcome.error == f"no result within {timeout} s"
        if note.exists() and note.read_text():
            break
    wait_until(lambda: not alive(int(note.read_text())))
    assert worker.evaluate(good(tmp_path), timeout=60).error is None


@pytest.mark.slow
def test_a_death_is_noticed_though_a_child_of_the_candidate_lives(
    worker: ProxyWorker, tmp_path: Path
) -> None:
    """Fails if only the end of the pipe shows it: the child keeps the pipe open."""
    note = tmp_path / "child"
    outcome = evaluated(worker, job(tmp_path, how="die", file=str(note)))
    assert outcome.error == "the worker process was killed by SIGKILL (out of memory?)"
    wait_until(lambda: not alive(int(note.read_text())))
    assert worker.evaluate(good(tmp_path), timeout=60).error is None


@pytest.mark.slow
def test_an_answer_from_before_the_death_is_read(
    worker: ProxyWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is killed while its answer is in the pipe, which a child keeps open."""
    killed = []

    class KillFirst(LineReader):
        def __init__(self, child: subprocess.Popen[bytes]) -> None:
            super().__init__(child)
            self.child = child

        def read(self, timeout: float) -> bytes | None:
            if not killed:
                assert select.select([self.child.stdout], [], [], 60)[0]
                self.child.kill()
                os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOWAIT)
                killed.append(self.child.pid)
            return super().read(timeout)

    note = tmp_path / "child"
    with monkeypatch.context() as patch:
        patch.setattr(module, "LineReader", KillFirst)
        outcome = evaluated(worker, job(tmp_path, how="leave", file=str(note)))
    assert killed
    assert outcome.metrics == {"AP": 0.5}
    assert worker.evaluate(good(tmp_path), timeout=60).error is None
    wait_until(lambda: not alive(int(note.read_text())))


def test_a_candidate_that_closes_its_output_and_lives_is_killed(
    worker: ProxyWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENDING", 0.1)
    first = int(process_of(worker, tmp_path))
    outcome = evaluated(worker, job(tmp_path, how="close"))
    assert outcome.error == "the worker process closed its output and did not end"
    wait_until(lambda: not alive(first))
    assert worker.evaluate(good(tmp_path), timeout=60).error is None


def test_what_a_candidate_prints_goes_to_its_log_and_is_not_taken_as_an_answer(
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


@pytest.mark.slow
def test_what_a_child_prints_before_it_dies_without_a_log_is_kept_and_shown(
    worker: ProxyWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child cannot import what it is made of."""
    (tmp_path / "nasfpn_runtime").mkdir()
    (tmp_path / "nasfpn_runtime" / "__init__.py").write_text("raise ImportError('decoy')")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [str(tmp_path), *sys.path])
        outcome = worker.evaluate(job(tmp_path, how="print"), timeout=60)
    assert outcome.error == "the worker process ended with exit code 1: ImportError: decoy"
    assert "Traceback" in (tmp_path / "trial" / "log").read_text()
    assert worker.evaluate(good(tmp_path), timeout=60).error is None


def test_a_log_that_cannot_be_opened_is_named(worker: ProxyWorker, tmp_path: Path) -> None:
    (tmp_path / "trial").write_text("a file, not a folder")
    outcome = worker.evaluate(job(tmp_path, how="print"), timeout=60)
    assert outcome.error is not None
    assert re.search(r"exit code 1: .*Error: .*trial'$", outcome.error)


def test_what_a_child_prints_before_its_log_is_open_comes_first_in_the_log(
    worker: ProxyWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONVERBOSE", "1")
    outcome = worker.evaluate(job(tmp_path, how="raise"), timeout=60)
    assert outcome.error == "RuntimeError: the loss is not finite"
    log = (tmp_path / "trial" / "log").read_text()
    assert log.index("import 'controllers") < log.index("Traceback")


def process_of(worker: ProxyWorker, tmp_path: Path) -> float:
    metrics = worker.evaluate(good(tmp_path), timeout=60).metrics
    assert metrics is not None
    return metrics["process"]


@pytest.mark.slow
def test_a_process_evaluates_as_many_candidates_as_given_and_none_after_a_failure(
    tmp_path: Path,
) -> None:
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


def test_reuse_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"reuse .*1 or more, got 0"):
        ProxyWorker(reuse=0)


def test_reports_arrive_in_order_and_before_the_outcome(
    worker: ProxyWorker, tmp_path: Path
) -> None:
    """Three reports and the answer may arrive in one read of the pipe."""
    seen: list[Mapping[str, Any]] = []
    outcome = worker.evaluate(job(tmp_path, how="print", reports=3), timeout=60, watch=seen.append)
    assert outcome.metrics == {"AP": 0.5, "read": 0}
    reports = [report for number, report in enumerate(seen) if report not in seen[:number]]
    assert reports == [{}, {"epoch": 0}, {"epoch": 1}, {"epoch": 2}]


def test_a_candidate_that_reports_does_not_outlive_its_timeout(
    worker: ProxyWorker, tmp_path: Path
) -> None:
    """The time limit is that of the candidate, not that of a report."""
    arguments = {"genome": good(tmp_path).arguments["genome"], "epochs": 200, "seconds": 0.05}
    slow = Job("synthetic:evaluate_in_epochs", arguments, tmp_path / "log")
    assert worker.evaluate(slow, timeout=3).error == "no result within 3 s"


def test_a_failure_after_reports_is_an_outcome(worker: ProxyWorker, tmp_path: Path) -> None:
    seen: list[Mapping[str, Any]] = []
    outcome = worker.evaluate(job(tmp_path, how="kill", reports=2), timeout=60, watch=seen.append)
    assert outcome.error is not None
    assert "SIGKILL" in outcome.error
    assert seen[-1] == {"epoch": 1}


@pytest.mark.slow
def test_an_error_of_the_watcher_is_raised_and_ends_the_child(
    worker: ProxyWorker, tmp_path: Path
) -> None:
    first = int(process_of(worker, tmp_path))

    def interrupt(report: Mapping[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.evaluate(job(tmp_path, how="hang"), watch=interrupt)
    wait_until(lambda: not alive(first))
    assert worker.evaluate(good(tmp_path), timeout=60).error is None


def test_a_reader_returns_lines_then_what_is_left() -> None:
    """The shell dies at once; the process that it leaves behind keeps the pipe open."""
    code = "printf 'one\\ntwo\\nrest'; sleep 600 & kill -KILL $$"
    with subprocess.Popen(
        ["sh", "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as shell:
        # A death during a read is noticed only after the time limit of that read.
        os.waitid(os.P_PID, shell.pid, os.WEXITED | os.WNOWAIT)
        reader = LineReader(shell)
        assert [reader.read(60) for _ in range(4)] == [b"one\n", b"two\n", b"rest", b""]
        os.killpg(shell.pid, signal.SIGKILL)


def test_a_reader_keeps_the_start_of_a_line_that_is_not_complete_in_time() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as cat:
        assert cat.stdin is not None
        reader = LineReader(cat)
        cat.stdin.write(b"half ")
        assert reader.read(0.1) is None
        cat.stdin.write(b"line\n")
        assert reader.read(60) == b"half line\n"
        assert reader.read(0) is None
