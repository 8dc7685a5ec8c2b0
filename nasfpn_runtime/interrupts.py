"""Handling of SIGINT (Ctrl-C), SIGTERM and SIGHUP where they would get lost or do harm.

SIGHUP is what a terminal sends when it is closed or its connection is lost. ``nohup`` makes a
command ignore it; that is left so.

Python raises ``KeyboardInterrupt`` at whatever line is running. If that line is in a destructor,
Python prints the exception and drops it. If MindSpore called it, MindSpore drops it or prints
pages of errors and writes files to the current folder. In an import it leaves a half-imported
package. So the handlers of this module raise it elsewhere only, and try again a little later.

A command runs as a child of ``tools.supervisor``, which kills it if it does not end soon after a
signal, because Python cannot handle a signal while a library holds the interpreter. The child
tells it through shared memory how long it may take, and which drafts to remove then.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 1.0  # seconds that a command has to end after a signal
SAVING = 60.0  # seconds that a step, or what must not be left half done, has to end
_TICK = 0.1  # seconds between two attempts to raise an interrupt
_SAME = 0.5  # seconds in which a second signal counts as the first: a terminal sends it to a child
_MINDSPORE = f"{os.sep}mindspore{os.sep}"

_seen: int | None = None  # the first signal
_raised_at: float | None = None
_held = 0  # number of blocks in which nothing is raised


def handled() -> tuple[signal.Signals, ...]:
    """Return those of ``SIGNALS`` that end a command: not SIGHUP if it is ignored."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return SIGNALS[:-1] if ignored else SIGNALS


def check() -> None:
    """Raise KeyboardInterrupt if a signal has come since :func:`remembered` was entered.

    Long loops call this in every iteration.
    """
    if _seen is not None:
        raise KeyboardInterrupt


def received() -> int:
    """Return the number of the signal that came first, SIGINT if there was none."""
    return signal.SIGINT if _seen is None else _seen


@contextmanager
def remembered() -> Iterator[None]:
    """Make the signals raise KeyboardInterrupt, and remember them for :func:`check`.

    SIGTERM is included because MindSpore's compiler responds to Ctrl-C by sending SIGTERM to its
    own process. The exception is raised once: a second signal does so again only if it comes
    ``_SAME`` seconds later.
    """
    global _seen, _raised_at
    _seen = _raised_at = None
    handlers = {**dict.fromkeys(handled(), _handle), signal.SIGALRM: _try_again}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        _seen = None


@contextmanager
def held_back() -> Iterator[None]:
    """Delay SIGINT to the end of the block, and block it in processes that are started inside.

    A terminal sends SIGINT to all processes, but only this one should act on it. A child
    inherits the blocked signal, so that it is protected from its first instruction on. SIGHUP is
    blocked for the same reason, but not delayed. Blocking alone is not enough here: another
    thread of this process, such as one of MindSpore's, can still receive the signal, and Python
    would raise it in the main thread. That would leave a half-started process that nobody ends.
    """
    global _held
    held: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    if main:
        signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    _held += main
    try:
        yield
    finally:
        _held -= main
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if main:
            signal.signal(signal.SIGINT, handler)
        if held:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def deferred() -> Iterator[None]:
    """Delay the signals to the end of the block, so that they do not leave it half done.

    After a signal the block has ``SAVING`` seconds to end. A second signal of the same kind, more
    than ``_SAME`` seconds after the first, takes effect at once. Outside the main thread, which
    gets all signals, and for signals that Python does not handle, nothing changes.
    """
    global _held
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    held: dict[int, float] = {}

    def hold(number: int, frame: FrameType | None) -> None:
        handler = handlers[signal.Signals(number)]
        first = held.setdefault(number, time.monotonic())
        if time.monotonic() - first > _SAME and callable(handler):
            handler(number, frame)

    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, hold)
    _held += 1
    try:
        with allowing(SAVING):
            yield
    finally:
        _held -= 1
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)
        if held:
            signal.raise_signal(min(held, key=lambda number: held[number]))


@contextmanager
def allowing(seconds: float) -> Iterator[None]:
    """Let the block take so many seconds after a signal before the process is killed."""
    before = _shared.allowance
    _shared.allow(max(before, seconds))
    try:
        yield
    finally:
        _shared.allow(before)


class SharedState:
    """What a command and its supervisor share.

    Attributes:
        memory: the shared memory; None without a supervisor.
        allowance: seconds that the command has to end after a signal.
    """

    _HEAD = struct.Struct("dd?I")  # allowance, time at which it was set, reported, bytes of drafts
    _SIZE = 1 << 16

    def __init__(self, memory: mmap.mmap | None = None) -> None:
        self.memory = memory
        self.allowance = GRACE
        self._since, self._reported, self._drafts = 0.0, False, b""

    def allocate(self) -> None:
        """Make the memory, before the process that will share it is forked."""
        self.memory = mmap.mmap(-1, self._SIZE)
        self._write()

    def allow(self, seconds: float) -> None:
        """Set the allowance; after a signal it counts from now."""
        self.allowance, self._since = seconds, time.monotonic()
        self._write()

    def report(self) -> None:
        """Note that the user knows of the interrupt."""
        self._reported = True
        self._write()

    def set_drafts(self, paths: Iterable[Path]) -> None:
        """Set the files and folders to remove if the command is killed."""
        room = self._SIZE - self._HEAD.size
        text = b"\0".join(os.fsencode(os.path.abspath(path)) for path in paths)
        self._drafts = text if len(text) <= room else b""
        self._write()

    def deadline(self, signalled_at: float) -> float:
        """Return the time at which the command must have ended."""
        assert self.memory is not None
        allowance, since, _, _ = self._HEAD.unpack_from(self.memory)
        return max(signalled_at, float(since)) + float(allowance)

    def reported(self) -> bool:
        """Return whether the command has noted that the user knows."""
        assert self.memory is not None
        return bool(self._HEAD.unpack_from(self.memory)[2])

    def drafts(self) -> list[Path]:
        """Return the files and folders to remove; call it after the command has ended."""
        assert self.memory is not None
        length = self._HEAD.unpack_from(self.memory)[3]
        text = self.memory[self._HEAD.size : self._HEAD.size + length]
        return [Path(os.fsdecode(part)) for part in text.split(b"\0") if part]

    def _write(self) -> None:
        if self.memory is None:
            return
        self.memory[self._HEAD.size : self._HEAD.size + len(self._drafts)] = self._drafts
        head = (self.allowance, self._since, self._reported, len(self._drafts))
        self._HEAD.pack_into(self.memory, 0, *head)


def let_in() -> None:
    """Let in the signals that ``tools.__main__`` blocked; call it in :func:`remembered`.

    Raises:
        KeyboardInterrupt: one has come meanwhile.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    if _shared.memory is not None:
        from search_space.files import watch_drafts  # takes a while to import

        watch_drafts(_shared.set_drafts)


def share() -> SharedState:
    """Start to share what a supervisor needs, before the command is forked."""
    _shared.allocate()
    return _shared


def report() -> None:
    """Tell the supervisor that the user knows of the interrupt."""
    _shared.report()


def _handle(number: int, frame: FrameType | None) -> None:
    global _seen
    if _seen is None:
        _seen = number
    _try_again(number, frame)


def _try_again(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, unless it has been raised; a little later if it would get lost."""
    global _raised_at
    again = number != signal.SIGALRM
    if _raised_at is not None and not (again and time.monotonic() - _raised_at > _SAME):
        return
    if _held and not again:  # held_back and deferred act at their ends
        return
    if _would_be_lost(frame):
        signal.setitimer(signal.ITIMER_REAL, _TICK)
        return
    _raised_at = time.monotonic()
    raise KeyboardInterrupt


def _would_be_lost(frame: FrameType | None) -> bool:
    """Return whether a frame or one of its callers is an import, a destructor or MindSpore's."""
    while frame is not None:
        code = frame.f_code
        if (
            code.co_filename.startswith("<frozen importlib")
            or code.co_name == "__del__"
            or _MINDSPORE in code.co_filename
        ):
            return True
        frame = frame.f_back
    return False


_shared = SharedState()
