"""Progress of long work on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from search_space.errors import message_text
from search_space.names import printable

PERIOD = 10.0  # seconds between two lines if standard error is not a terminal
TICK = 1.0  # seconds between two updates of waiting() on a terminal

_COLUMNS = re.compile(r"[1-9][0-9]{0,3}")  # a width that a terminal can have


def say(text: str, *, whole: bool = False) -> None:
    """Print lines on standard error, above any bar.

    Control characters are escaped. The middle of a very long line is left out, except from a
    result, which is printed ``whole``.
    """
    if sys.stderr is not None:
        lines = [printable(line) for line in text.split("\n")]
        text = "\n".join(lines if whole else map(message_text, lines))
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()


class Progress:
    """Progress of a loop: a bar on a terminal, otherwise a line every ``PERIOD`` seconds.

    Use it as a context manager. Several threads may use it. A bar is as wide as the terminal, or
    ``COLUMNS`` if that is set.

    Args:
        what: name of the work, such as ``train``.
        unit: name of one item, such as ``step``.
        total: number of items; None if unknown.
        done: number of items done in earlier runs.
        shown: False to show nothing.
        leave: whether the bar stays on the screen at its end.
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
        self._plain = self.shown and not sys.stderr.isatty()
        self._bar = _bar(
            self.shown and not self._plain,
            desc=what,
            unit=unit,
            total=total,
            initial=done,
            leave=leave,
        )
        self._first, self._started_at = done, time.monotonic()
        self._printed, self._printed_at = done, self._started_at
        self._text = ""
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._plain and self.done > self._printed:
            self._print_line()
        self._bar.close()

    def advance(self, count: int = 1, text: str = "") -> None:
        """Count items as done; ``text`` describes the state, such as ``loss 0.312``."""
        with self._lock:
            self.done, self._text = self.done + count, text
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(count)
            self._print_if_due()

    def expect(self, more: int) -> None:
        """Raise the total by ``more``, which may be negative; it stays None if it is unknown."""
        if self.total is not None:
            self.total += more
            self._bar.total = self.total

    def note(self, text: str) -> None:
        """Describe the state of the current item, without counting it."""
        with self._lock:
            self._text = text
            self._bar.set_postfix_str(text)
            self._print_if_due()

    def _print_if_due(self) -> None:
        if self._plain and time.monotonic() - self._printed_at >= PERIOD:
            self._print_line()

    def _print_line(self) -> None:
        now = time.monotonic()
        total = "" if self.total is None else f"/{self.total}"
        parts = [f"{self.what}: {self.done}{total} {_plural(self.unit)}"]
        if self.total is not None and self._first < self.done < self.total:
            each = (now - self._started_at) / (self.done - self._first)
            parts.append(f"{tqdm.format_interval(each * (self.total - self.done))} left")
        say(", ".join([*parts, self._text] if self._text else parts))
        self._printed, self._printed_at = self.done, now


@contextmanager
def waiting(text: str, *, shown: bool = True) -> Iterator[None]:
    """Show what is being waited for, and for how long, until the block ends.

    On a terminal, a line counts the seconds and disappears at the end. Elsewhere, a line is
    printed at the start and then every ``PERIOD`` seconds. A background thread does this, so that
    it continues while MindSpore compiles.
    """
    if not shown or sys.stderr is None:
        yield
        return
    terminal = sys.stderr.isatty()
    bar = _bar(terminal, desc=text, bar_format="{desc} ({elapsed})", leave=False)
    if not terminal:
        say(text)
    started_at, ended = time.monotonic(), threading.Event()

    def tick() -> None:
        while not ended.wait(TICK if terminal else PERIOD):
            if terminal:
                bar.refresh()
            else:
                say(f"{text} ({time.monotonic() - started_at:.0f} s)")

    thread = threading.Thread(target=tick, name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        bar.close()


def _bar(shown: bool, **settings: Any) -> Any:
    columns, rows = _terminal_size() if shown else (None, None)
    return tqdm(file=sys.stderr, disable=not shown, ncols=columns, nrows=rows, **settings)


def _terminal_size() -> tuple[int | None, int | None]:
    """Return columns and rows for a bar; None where tqdm may ask the terminal."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except OSError:  # a stream that is not a file, such as that of IDLE
        size = os.terminal_size((0, 0))
    # A terminal can report a size of 0, for example in a container. tqdm would show nothing then.
    columns, rows = (None if size.columns else 80), (None if size.lines else 24)
    wanted = os.environ.get("COLUMNS", "")
    return (int(wanted) if _COLUMNS.fullmatch(wanted) else columns), rows


def _plural(unit: str) -> str:
    hissing = unit.endswith(("ch", "sh", "s", "x")) and unit != "epoch"
    return f"{unit}es" if hissing else f"{unit}s"
