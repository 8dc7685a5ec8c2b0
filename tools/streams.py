"""Standard streams that can be written to, whatever they are connected to."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any


def prepare() -> None:
    """Make standard input, output and error usable.

    A closed one (``>&-``) is replaced by the null device, also its descriptor: a library would
    else open a file under its number, and messages would be written into that file. Characters
    that an encoding lacks are written as escape codes. Errors of standard error are ignored.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
        if getattr(sys, name) is None:
            stream = open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    for name, kind in (("stdout", OutputStream), ("stderr", MessageStream)):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, kind(stream))


class StreamError(OSError):
    """Standard output cannot be written."""


class OutputStream:
    """Standard output.

    Attributes:
        error: why something could not be written; None if everything was.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write the text.

        Raises:
            StreamError: that is impossible.
        """
        try:
            return self._stream.write(text)
        except OSError as error:
            return self._fail(error)

    def flush(self) -> None:
        """Write what is buffered.

        Raises:
            StreamError: that is impossible.
        """
        try:
            self._stream.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> int:
        self.error = error
        raise StreamError(error.errno, error.strerror) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class MessageStream(OutputStream):
    """Standard error: what cannot be written, as on a full disk, is dropped.

    A message that nobody can read must not end a training.
    """

    def _fail(self, error: OSError) -> int:
        self.error = error
        return 0


def flush_output() -> OSError | None:
    """Write what standard output still holds; return why it could not be written in full.

    The rest is dropped then, so that Python does not report it again at its end.
    """
    with suppress(StreamError):
        sys.stdout.flush()
    error: OSError | None = getattr(sys.stdout, "error", None)
    if error is not None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
    return error
