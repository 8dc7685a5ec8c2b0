"""The alternate stack on which a thread handles signals.

Python asks the kernel to run its signal handlers on the alternate stack of a thread, if the thread
has one. OpenVINO 2026.4 gives one to the thread that compiles a model, because AMX instructions
need a large one, and unmaps it with the last model, in whatever thread that happens. The next
signal of the first thread, such as Ctrl-C, then ends the process without a word: the kernel has
nowhere to put the handler's frame.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_DISABLED = 2  # SS_DISABLE: handlers run on the stack of the thread itself


class _Stack(ctypes.Structure):
    """``stack_t`` of sigaltstack(2) on Linux."""

    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give the thread the alternate stack back that it had before the block.

    If that one has become too small, because the block has let the process use AMX, the thread
    gets none: handlers then run on its own stack, which is large enough.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "sigaltstack"):
        yield
        return
    before = _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        if libc.sigaltstack(ctypes.byref(before), None):
            libc.sigaltstack(ctypes.byref(_Stack(None, _DISABLED, 0)), None)
