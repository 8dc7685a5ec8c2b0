"""The process that a user starts: it runs the command in a child and ends it on a signal.

Python cannot act on a signal while a library holds the interpreter: MindSpore does so for seconds
while it is loaded and while it compiles. So the command runs in a forked child. This process does
nothing but wait for it. It passes SIGINT, SIGTERM and SIGHUP on, and kills the command if it does
not end within the time that it may take (``nasfpn_runtime.interrupts``).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nasfpn_runtime.interrupts import SharedState

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = tuple(128 + number for number in SIGNALS)  # exit codes
RESUMABLE = ("quickstart", "train", "search", "compare", "fidelity")
_POLL = 0.05  # seconds between two looks at a command that was signalled
_ORPHANS = 0.3  # seconds that children of the command have to end by themselves after it

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def supervise() -> None:
    """Fork, and return in the child only. This process ends as the child does.

    Call it with ``SIGNALS`` blocked; they stay so in the child until it can handle them.
    Does nothing in the processes of a job on several cards, which msrun supervises, in a debugger,
    and on systems other than Linux.
    """
    if sys.platform != "linux" or sys.gettrace() is not None:
        return
    from nasfpn_runtime import interrupts
    from nasfpn_runtime.cluster.msrun import STARTER

    if STARTER in os.environ:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    state, parent = interrupts.share(), os.getpid()
    child = os.fork()
    if child:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # children of a killed command become this process's
        os._exit(_watch(child, state, interrupts.handled()))
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has been killed already
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def stopped_line(arguments: Sequence[str]) -> str:
    """Return the line that is printed when a command is interrupted."""
    if not arguments or arguments[0] not in RESUMABLE:
        return "Stopped."
    command = shlex.join(["nasfpn", *arguments])
    if "://" in command:
        from search_space.errors import mask_secrets  # takes a while to import

        command = mask_secrets(command)
    return f"Stopped. To resume, run the same command: {command}"


def _watch(child: int, state: SharedState, signals: Sequence[int]) -> int:
    """Wait until the child ends, and return the exit code of this process.

    Args:
        signals: what is passed on to the child.
    """
    first, at = 0, 0.0  # the first signal and when it came
    while (status := _reap(child)) is None:
        info = signal.sigtimedwait((*signals, signal.SIGCHLD), _POLL if first else 3600)
        if info is not None and info.si_signo in signals:
            if not first:
                first, at = info.si_signo, time.monotonic()
            os.kill(child, info.si_signo)  # a second one too: it ends what may take longer
        if first and time.monotonic() > state.deadline(at):
            os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(status)
    if not first:
        if code < 0:
            _die_of(-code)
        return code
    if code >= 0 and code not in INTERRUPTED:  # it was done, or had failed, before the signal
        return code
    if not state.reported():
        with contextlib.suppress(OSError):
            start = "\n" if os.isatty(2) else ""
            os.write(2, f"{start}{stopped_line(sys.argv[1:])}\n".encode(errors="backslashreplace"))
    _end_orphans()
    for draft in state.drafts():
        _remove(draft)
    return 128 + first


def _reap(child: int) -> int | None:
    """Return the status of the child if it has ended; collect other children that have."""
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if process == child:
            return status
        if process == 0:
            return None


def _end_orphans() -> None:
    """Wait a moment for the processes that the command started, then kill them."""
    end = time.monotonic() + _ORPHANS
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        try:
            listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8")
        except OSError:
            return
        if not listed.split():
            return
        if time.monotonic() > end:
            for process in map(int, listed.split()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        time.sleep(0.01)


def _remove(draft: Path) -> None:
    if draft.is_dir() and not draft.is_symlink():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            draft.unlink()


def _die_of(number: int) -> None:
    """End this process by a signal, so that it ends as the command did."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # SIGKILL
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)


def _prctl(option: int, value: int) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(option, value)
