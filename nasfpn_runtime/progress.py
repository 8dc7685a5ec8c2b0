"""What long work says of itself on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

PERIOD = 10.0  # seconds between two lines where standard error is no terminal


def say(text: str) -> None:
    """Print a line on standard error, above any bar."""
    if sys.stderr is not None:
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()


class Progress:
    """How far a loop is: a bar on a terminal, otherwise a line every ``PERIOD`` seconds.

    Use it as a context manager. The width of a bar is that of the terminal, or ``COLUMNS``.

    Args:
        what: the work, such as ``train``.
        unit: what is counted, such as ``step``.
        total: how many there will be; None where nobody knows.
        done: how many were done in earlier runs.
        shown: False shows nothing.
        leave: whether a bar stays on the screen at its end.
    """

    def __init__(
        self,
        what: str,
        unit: str,
        total: int | None,
        *,
        done: int = 0,
        shown: bool = True,
        leave: bool = True,
    ) -> None:
        self.what, self.unit, self.total, self.done = what, unit, total, done
        self.shown = shown and sys.stderr is not None
        self._lines = self.shown and not sys.stderr.isatty()
        self._bar = _bar(
            self.shown and not self._lines,
            desc=what,
            unit=unit,
            total=total,
            initial=done,
            leave=leave,
        )
        self._first, self._began = done, time.monotonic()
        self._told, self._told_at = done, self._began

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._lines and self.done > self._told:
            self._tell("")
        self._bar.close()

    def advance(self, count: int = 1, text: str = "") -> None:
        """Count what was done; ``text`` says how it went, such as ``loss 0.312``."""
        self.done += count
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(count)
        if self._lines and time.monotonic() - self._told_at >= PERIOD:
            self._tell(text)

    def note(self, text: str) -> None:
        """Say how the work in hand is going, without counting anything."""
        self._bar.set_postfix_str(text)
        if self._lines and time.monotonic() - self._told_at >= PERIOD:
            self._tell(text)

    def _tell(self, text: str) -> None:
        now = time.monotonic()
        of = "" if self.total is None else f"/{self.total}"
        parts = [f"{self.what}: {self.done}{of} {self.unit}s"]
        if self.total is not None and self._first < self.done < self.total:
            each = (now - self._began) / (self.done - self._first)
            parts.append(f"{tqdm.format_interval(each * (self.total - self.done))} left")
        say(", ".join([*parts, text] if text else parts))
        self._told, self._told_at = self.done, now


@contextmanager
def waiting(text: str, *, shown: bool = True) -> Iterator[None]:
    """Say what is being waited for, and for how long already, until the block ends.

    On a terminal a line counts the seconds and disappears at the end. Elsewhere a line is
    printed at the start and every ``PERIOD`` seconds. A thread does this, so that it goes on
    while MindSpore compiles.
    """
    if not shown or sys.stderr is None:
        yield
        return
    terminal = sys.stderr.isatty()
    bar = _bar(terminal, desc=text, bar_format="{desc} ({elapsed})", leave=False)
    if not terminal:
        say(text)
    ended = threading.Event()

    def tick() -> None:
        began = time.monotonic()
        while not ended.wait(1.0 if terminal else PERIOD):
            if terminal:
                bar.refresh()
            else:
                say(f"{text} ({time.monotonic() - began:.0f} s)")

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        bar.close()


def _bar(shown: bool, **settings: Any) -> Any:
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) > 0 else None
    return tqdm(file=sys.stderr, disable=not shown, ncols=width, **settings)
