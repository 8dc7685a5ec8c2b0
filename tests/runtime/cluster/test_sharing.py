"""The lock of MindSpore: who holds it, who destroys what, and what an interrupt leaves."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref

import pytest

from locations import ROOT
from nasfpn_runtime.cluster.sharing import destroy_retired, lock, retire


class Net:
    """Something that remembers the thread that destroyed it."""

    destroyed_in: int | None = None

    def __del__(self) -> None:
        Net.destroyed_in = threading.get_ident()


def in_thread(work: object) -> threading.Thread:
    thread = threading.Thread(target=work)  # type: ignore[arg-type]
    thread.start()
    return thread


def is_free() -> bool:
    """Return whether another thread could take the lock."""
    answers: list[bool] = []

    def try_it() -> None:
        held = lock("mindspore")
        answers.append(held.acquire(blocking=False))
        if answers[0]:
            held.release()

    in_thread(try_it).join()
    return answers[0]


def test_a_network_is_not_destroyed_while_another_thread_runs_one() -> None:
    running, ended = threading.Event(), threading.Event()

    def run() -> None:
        with lock("mindspore"):
            running.set()
            ended.wait()
            destroy_retired()

    thread = in_thread(run)
    running.wait()
    nets = [Net()]
    alive = weakref.ref(nets[0])
    retire(nets.pop())  # does not wait
    assert alive() is not None
    ended.set()
    thread.join()
    assert alive() is None
    assert Net.destroyed_in == thread.ident
    nets = [Net()]
    alive = weakref.ref(nets[0])
    retire(nets.pop())
    assert alive() is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_releases_the_lock(error: type[BaseException]) -> None:
    def fail() -> None:
        with lock("mindspore"), lock("mindspore"):
            assert not is_free()
            raise error

    with pytest.raises(error):
        fail()
    assert is_free()


# Takes the lock again and again until a signal comes, at 399 moments after the start.
INTERRUPTED = """
import signal, threading
from nasfpn_runtime.cluster.sharing import lock

taken = []

def interrupt(number, frame):
    raise KeyboardInterrupt

def try_it():
    held = lock("mindspore")
    taken.append(held.acquire(blocking=False))
    if taken[-1]:
        held.release()

def is_free():
    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    return taken[-1]

signal.signal(signal.SIGALRM, interrupt)
interrupted = 0
for microseconds in range(1, 400):
    try:
        signal.setitimer(signal.ITIMER_REAL, microseconds * 1e-6)
        while True:
            with lock("mindspore"):
                pass
    except KeyboardInterrupt:
        interrupted += 1
    assert is_free(), microseconds
print(interrupted)
"""


def test_no_interrupt_at_any_moment_keeps_the_lock() -> None:
    """In a process of its own: in one with many threads of others, signals may go to these."""
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout == "399\n", done.stderr
