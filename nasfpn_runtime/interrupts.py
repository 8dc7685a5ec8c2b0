"""Ctrl-C, also where it gets lost.

Python raises ``KeyboardInterrupt`` wherever it happens to be. In a destructor it is printed and
dropped, and MindSpore's calls of Python drop it too: without more, a run would go on.
"""

from __future__ import annotations

import signal
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


def _raise(number: int, frame: FrameType | None) -> None:
    global _seen
    _seen = True
    raise KeyboardInterrupt
