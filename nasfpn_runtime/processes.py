"""Start Python processes that find the packages of this one, whatever the current folder holds.

``python -m`` and ``python -c`` search the current folder first. That folder is the user's: it may
have a package called ``tools`` or ``controllers``, or a module called ``random``, of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from nasfpn_runtime.errors import ProcessError

_SAFE_PATH = "PYTHONSAFEPATH"  # Python 3.11 and later


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module as ``python -m`` does, but with our ``sys.path``.

    Args:
        module: dotted name of a module, or of a package with a ``__main__`` module.
        arguments: what ``sys.argv[1:]`` will be.
    """
    path = [entry or os.getcwd() for entry in sys.path]
    # `sys` is built in, so nothing is imported before the path is right.
    code = (
        f"import sys; sys.path[:] = {path!r}; import runpy; "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code, *arguments]


def output_of(module: str, *arguments: str) -> str:
    """Run a module in a process of its own and return what it printed on standard output.

    Raises:
        ProcessError: it failed. The message has the last line that it printed on standard error.
    """
    command = python_command(module, *arguments)
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if ended.returncode:
        last = last_line(ended.stderr) or f"exit code {ended.returncode}"
        raise ProcessError(f"cannot run {' '.join([module, *arguments])}: {last}")
    return ended.stdout


def last_line(text: str) -> str:
    """Return the last line of a text that is not blank, or an empty string if there is none."""
    lines = [line.strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process, and of those that it starts, inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def without_current_folder() -> AbstractContextManager[None]:
    """Keep processes that multiprocessing starts in the block from searching the current folder.

    A spawned process imports modules of the standard library before it gets the ``sys.path`` of
    the process that started it. Before Python 3.11 this has no effect.
    """
    return environment({_SAFE_PATH: "1"})
