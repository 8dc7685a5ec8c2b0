"""MindSpore's msrun, tied to the process that started it; its worker processes are tied to it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

STARTER = "NASFPN_STARTER"  # variable with the id of the process that started this one

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_starter() -> None:
    """Make the kernel kill this process when its parent, the process in ``STARTER``, ends.

    A signal handler or a thread would not work, because MindSpore holds the interpreter's lock
    while it waits for other processes. Nothing changes if ``STARTER`` is not set or the system is
    not Linux.
    """
    if STARTER not in os.environ or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ[STARTER]):  # the parent has ended already
        os._exit(1)


def main() -> None:
    """Run msrun with the command line arguments of this process."""
    end_with_starter()
    os.environ[STARTER] = str(os.getpid())
    from mindspore.parallel.cluster.run import main as run

    run()


if __name__ == "__main__":
    main()
