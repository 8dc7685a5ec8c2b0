"""The process in which candidates are trained, and the parent's handle on it.

A candidate may raise, crash, hang, exhaust memory or print whatever it likes; the search
learns of it as an :class:`Outcome` and goes on with a new process.

Run as ``python -m controllers.worker`` this file is the child: it reads one JSON object a
line on standard input (``evaluate``, ``arguments``, ``log``) and answers each with one line
(``metrics`` or ``error``) on what was its standard output.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import math
import os
import queue
import selectors
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

LOOK = 1.0  # seconds between looks at a child that does not answer
ENDING = 10.0  # seconds in which a child that closed its answers has to end


@dataclass(frozen=True)
class Job:
    """One candidate to evaluate.

    Attributes:
        evaluate: ``module:function``; called with ``arguments``, returns the metrics by name.
        arguments: what the function gets, as JSON can say it.
        log: file to which all that the child prints is appended.
    """

    evaluate: str
    arguments: Mapping[str, Any]
    log: Path


@dataclass(frozen=True)
class Outcome:
    """How it went: ``metrics``, or ``error`` with the reason, and the seconds it took."""

    metrics: Mapping[str, float] | None
    error: str | None
    seconds: float


class ProxyWorker:
    """A child process that evaluates one job after the other.

    It starts with the first job, with this process's ``sys.path``. It is replaced after a
    failure, since what a failed candidate leaves behind is unknown, and after ``reuse``
    jobs, since compiled graphs stay in memory. It ends with its parent, however that ends.
    Use as a context manager, or call :meth:`close`.

    Args:
        reuse: jobs that one process evaluates.
    """

    def __init__(self, reuse: int = 20) -> None:
        if reuse < 1:
            raise ValueError(f"reuse is 1 or more, got {reuse}")
        self.reuse = reuse
        self._child: subprocess.Popen[bytes] | None = None
        self._jobs = 0

    def evaluate(self, job: Job, timeout: float | None = None) -> Outcome:
        """Run the job and return how it went; after ``timeout`` seconds the child is killed."""
        start = time.monotonic()
        if self._jobs >= self.reuse or (self._child is not None and self._child.poll() is not None):
            self.close()
        try:
            reply = self._ask(job, timeout)
        except BaseException:
            self.close()
            raise
        if "error" in reply:
            self.close()
        return Outcome(reply.get("metrics"), reply.get("error"), time.monotonic() - start)

    def close(self) -> None:
        """Kill the child and its children, if there are any."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
            for stream in (self._child.stdin, self._child.stdout):
                if stream is not None:
                    stream.close()
        self._child, self._jobs = None, 0

    def __enter__(self) -> ProxyWorker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _ask(self, job: Job, timeout: float | None) -> dict[str, Any]:
        child = self._child = self._child or _spawn()
        self._jobs += 1
        assert child.stdin is not None
        log = os.path.abspath(job.log)
        line = json.dumps({"evaluate": job.evaluate, "arguments": job.arguments, "log": log})
        # A child that died since is found out below.
        with contextlib.suppress(BrokenPipeError):
            os.write(child.stdin.fileno(), line.encode() + b"\n")
        answer = _read_line(child, timeout)
        if answer is None:
            return {"error": f"no result within {timeout:g} s"}
        if not answer.endswith(b"\n"):
            return {"error": _last_words(child)}
        reply: dict[str, Any] = json.loads(answer)
        return reply


def _spawn() -> subprocess.Popen[bytes]:
    # In a session of its own: Ctrl-C reaches the parent alone, and the child's own children
    # can be killed with it. The path is handed on as multiprocessing's spawn does.
    return subprocess.Popen(
        [sys.executable, "-m", "controllers.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
        start_new_session=True,
    )


def _read_line(child: subprocess.Popen[bytes], timeout: float | None) -> bytes | None:
    """Return its next line, what there is of it if it can write no more, None if time runs out."""
    assert child.stdout is not None
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            # The pipe alone does not tell: what the child forked may live and keep it open.
            # Looked at before the pipe, in which is then all that the child has written.
            ended = child.poll() is not None
            left = deadline - time.monotonic()
            if selector.select(0 if ended else max(0, min(left, LOOK))):
                part = os.read(child.stdout.fileno(), 65536)
                if not part:
                    break
                line += part
            elif ended:
                break
            elif left <= 0:
                return None
    return line


def _last_words(child: subprocess.Popen[bytes]) -> str:
    try:
        code = child.wait(ENDING)
    except subprocess.TimeoutExpired:
        return "the worker process closed the pipe of its answers and did not end"
    if code >= 0:
        return f"the worker process ended with exit code {code}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    return f"the worker process was killed by {signal.Signals(-code).name}{hint}"


def main() -> None:
    """Answer jobs until standard input ends, then end with all children.

    The descriptors 0, 1 and 2 belong to the candidate: what it reads is empty, what it
    prints goes to the job's log, and neither can disturb the conversation.
    """
    jobs, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    faulthandler.enable()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs, lines), daemon=True).start()
    while True:
        reply = _answer(json.loads(lines.get()))
        print(json.dumps(reply), file=answers, flush=True)


def _listen(jobs: TextIO, lines: queue.SimpleQueue[str]) -> None:
    # The parent's end closes the pipe, however the parent ends and whatever runs meanwhile.
    for line in jobs:
        lines.put(line)
    os.killpg(0, signal.SIGKILL)


def _answer(job: Mapping[str, Any]) -> dict[str, Any]:
    with _printing_to(Path(job["log"])):
        try:
            module, _, name = job["evaluate"].partition(":")
            metrics = getattr(importlib.import_module(module), name)(job["arguments"])
            return {"metrics": {key: float(value) for key, value in metrics.items()}}
        # The border of the process: whatever a candidate does wrong is its result.
        except BaseException as error:
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}"}


@contextlib.contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Append to the file what this process and its libraries print; stays so afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main()
