"""Ctrl-C, also where it gets lost or comes at a bad moment.

Python raises ``KeyboardInterrupt`` wherever it happens to be. In a destructor it is printed and
dropped, and MindSpore's calls of Python drop it too: without more, a run would go on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_seen = False


def check() -> None:
    """Raise KeyboardInterrupt if there was one since :func:`remembered` began.

    Long loops call it once a turn.
    """
    if _seen:
        raise KeyboardInterrupt


@contextmanager
def remembered() -> Iterator[None]:
    """Have SIGINT and SIGTERM raise KeyboardInterrupt inside, and :func:`check` do so again.

    SIGTERM too, because MindSpore's compiler answers Ctrl-C by sending it to its own process.
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
    """Raise an interrupt (SIGINT) at the end only, and never in a process that begins here.

    A terminal interrupts all; the caller acts. What a process blocks its child blocks, from its
    first moment on. Other threads of the caller, such as MindSpore's, still take the signal,
    and Python would raise it in the main thread: where a process has half begun, nobody ends it.
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
