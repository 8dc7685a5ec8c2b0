"""The worker process in which candidates are trained, and the parent's handle on it.

A candidate may raise, crash, hang, exhaust memory or print anything. The search gets an
:class:`Outcome` in each case and continues with a new process.

The child runs this file as ``python -m controllers.worker`` would. It reads one JSON object a line
from standard input, a job: ``evaluate``, ``arguments``, ``log``. To each it writes one line on what
was its standard output: ``metrics`` or ``error``. Before that line it may write any number of lines
with ``progress``.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import inspect
import json
import math
import os
import queue
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO, TypeAlias

from controllers.errors import SearchError
from nasfpn_runtime.processes import last_line, python_command
from search_space.rules import json_integer

EVALUATE = "controllers.candidate:evaluate"  # what scores a candidate unless told otherwise
LOOK = 1.0  # seconds between two checks of a child that sends nothing
ENDING = 10.0  # seconds that a child which closed its output has to end

# Is called with what a candidate reported last; empty before its first report.
Watch: TypeAlias = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """One candidate to evaluate.

    Attributes:
        evaluate: ``module:function``. The function is called with ``arguments`` and returns
            the metrics by name. If it has a parameter ``report``, that is a function to call
            with a mapping of JSON data that says how far the evaluation is.
        arguments: JSON data for the function.
        log: file to which everything that the child prints is appended, also if it dies before
            it can open the file.
    """

    evaluate: str
    arguments: Mapping[str, Any]
    log: Path


@dataclass(frozen=True)
class Outcome:
    """Result of a job.

    Attributes:
        metrics: what the function returned; None if it failed.
        error: why it failed; None if it did not.
        seconds: time it took.
        stop: the error is a ``SearchError``: the genome is not to blame, and all other candidates
            would fail, too.
    """

    metrics: Mapping[str, float] | None
    error: str | None
    seconds: float
    stop: bool = False

    def value(self, metric: str) -> tuple[float | None, str | None]:
        """Return a metric, or None and why there is none: it must be a finite number."""
        if self.metrics is None:
            return None, self.error
        value = self.metrics.get(metric)
        if value is None or not math.isfinite(value):
            return None, f"the candidate's {metric} must be a finite number, got {value}"
        return value, None


class ProxyWorker:
    """A child process that evaluates jobs one after another.

    The child starts with the first job and has the ``sys.path`` of this process. It is replaced
    after a failure, because a failed candidate may leave anything behind, and after ``reuse``
    jobs, because compiled graphs stay in memory. It ends with its parent, even if the parent is
    killed. Use it as a context manager, or call :meth:`close`.

    Args:
        reuse: jobs that one process evaluates.
        cores: numbers of the cores that the child may use, with a thread for each; none for all.
        stop: once it is set, :meth:`evaluate` and :meth:`pause` raise KeyboardInterrupt.
    """

    def __init__(
        self, reuse: int = 20, *, cores: Sequence[int] = (), stop: threading.Event | None = None
    ) -> None:
        if reuse < 1:
            raise ValueError(f"reuse must be 1 or more, got {reuse}")
        self.reuse = reuse
        self._cores, self._stop = cores, stop or threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._early: IO[bytes] | None = None  # what the child prints before it opens a log
        self._lines: LineReader | None = None
        self._jobs = 0

    def evaluate(
        self, job: Job, timeout: float | None = None, watch: Watch | None = None
    ) -> Outcome:
        """Run the job and return its outcome.

        Args:
            job: what to evaluate.
            timeout: seconds after which the child is killed and the job has failed.
            watch: called at the start, after each report of the candidate, and at least every
                ``LOOK`` seconds.

        Raises:
            KeyboardInterrupt: the worker was told to stop. The child is killed.
        """
        start = time.monotonic()
        if self._jobs >= self.reuse or (self._child is not None and self._child.poll() is not None):
            self.close()
        try:
            reply = self._ask(job, timeout, watch)
        except BaseException:
            self.close()
            raise
        error = reply.get("error")
        if error is not None:
            error += self._words_before_log(job.log)
            self.close()
        seconds = time.monotonic() - start
        return Outcome(reply.get("metrics"), error, seconds, reply.get("stop", False))

    def pause(self) -> None:
        """Wait for ``LOOK`` seconds.

        Raises:
            KeyboardInterrupt: the worker was told to stop.
        """
        if self._stop.wait(LOOK):
            raise KeyboardInterrupt

    def close(self) -> None:
        """Kill the child and its children, if there are any."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
            for stream in (self._child.stdin, self._child.stdout):
                if stream is not None:
                    stream.close()
        if self._early is not None:
            self._early.close()
        self._child, self._early, self._lines, self._jobs = None, None, None, 0

    def __enter__(self) -> ProxyWorker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _ask(self, job: Job, timeout: float | None, watch: Watch | None) -> dict[str, Any]:
        if self._child is None:
            # A file, not a pipe: nobody has to read it while the child runs.
            self._early = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
            self._child = _spawn(self._early, self._cores)
        child = self._child
        lines = self._lines = self._lines or LineReader(child)
        self._jobs += 1
        assert child.stdin is not None
        log = os.path.abspath(job.log)
        line = json.dumps(
            {"evaluate": job.evaluate, "arguments": job.arguments, "log": log},
            default=json_integer,
        )
        # If the child has died meanwhile, reading its answer shows it.
        with contextlib.suppress(BrokenPipeError):
            os.write(child.stdin.fileno(), line.encode() + b"\n")
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        progress: Mapping[str, Any] = {}
        while True:
            if watch is not None:
                watch(progress)
            if self._stop.is_set():
                raise KeyboardInterrupt
            left = deadline - time.monotonic()
            answer = lines.read(max(0, min(left, LOOK)))
            if answer is None:
                if left <= 0:
                    return {"error": f"no result within {timeout:g} s"}
                continue
            if not answer.endswith(b"\n"):
                return {"error": _last_words(child)}
            reply: dict[str, Any] = json.loads(answer)
            if "progress" not in reply:
                return reply
            progress = reply["progress"]

    def _words_before_log(self, log: Path) -> str:
        """Append to ``log`` what a child printed that opened no log.

        Returns:
            The end of an error message: the last line, or nothing if nothing was printed.
        """
        if self._early is None:
            return ""
        self._early.seek(0)
        printed = self._early.read()
        if not printed:  # the child has moved it to its first log
            return ""
        with contextlib.suppress(OSError):  # the message has the last line all the same
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as file:
                file.write(printed)
        return f": {last_line(printed.decode(errors='replace'))}"


class LineReader:
    """Reads the standard output of a child process line by line, with a time limit."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        self._child, self._descriptor = child, child.stdout.fileno()
        self._buffer = b""

    def read(self, timeout: float) -> bytes | None:
        """Return the next line with its line end.

        Returns:
            A line; what is left without a line end once the child has ended or closed its
            output; None if no line is complete after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                # The end of the pipe is not enough: processes that the child forked may live on
                # and keep it open. The check comes before the read, which then gets all that
                # the child wrote.
                ended = self._child.poll() is not None
                left = deadline - time.monotonic()
                if selector.select(0 if ended else max(0, left)):
                    part = os.read(self._descriptor, 65536)
                    if not part:
                        break
                    self._buffer += part
                elif ended:
                    break
                elif left <= 0:
                    return None
        line, end, self._buffer = self._buffer.partition(b"\n")
        return line + end


def _spawn(errors: IO[bytes], cores: Sequence[int]) -> subprocess.Popen[bytes]:
    # In its own session: Ctrl-C reaches only the parent, and the children of the child can be
    # killed with it.
    return subprocess.Popen(
        python_command("controllers.worker", *map(str, cores)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        bufsize=0,
        start_new_session=True,
    )


def _last_words(child: subprocess.Popen[bytes]) -> str:
    try:
        code = child.wait(ENDING)
    except subprocess.TimeoutExpired:
        return "the worker process closed its output and did not end"
    if code >= 0:
        return f"the worker process ended with exit code {code}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    return f"the worker process was killed by {signal.Signals(-code).name}{hint}"


def main() -> None:
    """Answer jobs until standard input ends, then end with all children.

    The candidate gets other files as descriptors 0, 1 and 2: its standard input is empty, and
    what it prints goes to the log of the job. So it cannot disturb the exchange with the parent.

    The arguments are the cores to use, before anything starts threads; none for all.
    """
    if cores := [int(core) for core in sys.argv[1:]]:
        os.sched_setaffinity(0, cores)
        os.environ["OMP_NUM_THREADS"] = str(len(cores))
    jobs, answers, early = (
        os.fdopen(os.dup(0), "r", encoding="utf-8"),
        os.fdopen(os.dup(1), "w", encoding="utf-8"),
        os.dup(2),
    )
    with open(os.devnull, encoding="utf-8") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    faulthandler.enable()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs, lines), daemon=True).start()
    while True:
        reply = _answer(json.loads(lines.get()), answers, early)
        print(json.dumps(reply), file=answers, flush=True)


def _listen(jobs: TextIO, lines: queue.SimpleQueue[str]) -> None:
    # The pipe closes when the parent ends, even if it is killed. This thread notices at once,
    # whatever the candidate is doing.
    for line in jobs:
        lines.put(line)
    os.killpg(0, signal.SIGKILL)


def _answer(job: Mapping[str, Any], answers: TextIO, early: int) -> dict[str, Any]:
    def report(progress: Mapping[str, Any]) -> None:
        print(json.dumps({"progress": dict(progress)}), file=answers, flush=True)

    with _printing_to(Path(job["log"]), early):
        try:
            module, _, name = job["evaluate"].partition(":")
            function = getattr(importlib.import_module(module), name)
            reports = "report" in inspect.signature(function).parameters
            metrics = function(job["arguments"], **({"report": report} if reports else {}))
            return {"metrics": {key: float(value) for key, value in metrics.items()}}
        except SearchError as error:
            return {"error": str(error), "stop": True}
        # All errors, because this is the border of the process: a failure is a result.
        except BaseException as error:
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}"}


@contextlib.contextmanager
def _printing_to(path: Path, early: int) -> Iterator[None]:
    """Append to the file what this process and its libraries print, also after the block.

    Args:
        path: the file.
        early: descriptor of the file with what was printed before; its content is moved.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as log:
        with contextlib.suppress(OSError):  # a terminal, if the child was started by hand
            os.lseek(early, 0, os.SEEK_SET)
            log.write(os.read(early, os.fstat(early).st_size))
            os.ftruncate(early, 0)
            log.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main()
