"""Handling of Ctrl-C where it would get lost or arrive at a bad moment.

Python raises ``KeyboardInterrupt`` at whatever line is running. If that line is in a destructor,
Python prints the exception and drops it; if MindSpore called it, MindSpore drops it. Without this
module a run would then continue.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_seen = False


def check() -> None:
    """Raise KeyboardInterrupt if one was raised since :func:`remembered` was entered.

    Long loops call this in every iteration.
    """
    if _seen:
        raise KeyboardInterrupt


@contextmanager
def remembered() -> Iterator[None]:
    """Make SIGINT and SIGTERM raise KeyboardInterrupt, and remember it for :func:`check`.

    SIGTERM is included because MindSpore's compiler responds to Ctrl-C by sending SIGTERM to its
    own process.
    """
    global _seen
    _seen = False
    before = {number: signal.signal(number, _raise) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _seen = False


@contextmanager
def held_back() -> Iterator[None]:
    """Delay SIGINT to the end of the block, and block it in processes that are started inside.

    A terminal sends SIGINT to all processes, but only this one should act on it. A child
    inherits the blocked signal, so that it is protected from its first instruction on. Blocking
    alone is not enough here: another thread of this process, such as one of MindSpore's, can
    still receive the signal, and Python would raise it in the main thread. That would leave a
    half-started process that nobody ends.
    """
    held: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    if main:
        signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if main:
            signal.signal(signal.SIGINT, handler)
        if held:
            signal.raise_signal(signal.SIGINT)


def _raise(number: int, frame: FrameType | None) -> None:
    global _seen
    _seen = True
    raise KeyboardInterrupt
