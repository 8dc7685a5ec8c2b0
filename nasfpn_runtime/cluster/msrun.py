"""MindSpore's msrun, but that it ends with what started it, and its processes end with it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

STARTER = "NASFPN_STARTER"  # number of the process that started this one

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_starter() -> None:
    """Have the kernel end this process when that of ``STARTER``, its parent, has ended.

    A signal handler or a thread would not do: MindSpore keeps the interpreter's lock while it
    waits for other processes. Without ``STARTER``, or on another system, nothing is changed.
    """
    if STARTER not in os.environ or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ[STARTER]):  # it ended before
        os._exit(1)


def main() -> None:
    """Run msrun with the arguments of this process."""
    end_with_starter()
    os.environ[STARTER] = str(os.getpid())
    from mindspore.parallel.cluster.run import main as run

    run()


if __name__ == "__main__":
    main()
