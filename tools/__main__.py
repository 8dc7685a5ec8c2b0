"""The ``nasfpn`` command, and ``python -m tools``."""

from __future__ import annotations

import signal
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the command line of this process in a child, and return its exit code there."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # before any import: signals wait meanwhile
    from tools.supervisor import supervise

    supervise()
    from tools.cli import main as run  # in the child: it may be killed meanwhile

    try:
        return run()
    finally:
        for number in SIGNALS:  # nothing is left to interrupt
            signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
