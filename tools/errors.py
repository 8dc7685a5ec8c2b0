"""Which errors are the user's. They are printed in one line, and the exit code is 2."""

from __future__ import annotations

import contextlib
import errno
import re
import sys
import warnings
from collections.abc import Iterator

_WRITING = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_NUMBER = re.compile(r"\[Errno -?\d+\] ")  # of an OSError in the message of another error

TOO_LITTLE_MEMORY = "this needs more memory than there is; use smaller images, batches or sizes"


class UsageError(Exception):
    """Options or arguments of a command that cannot be used."""


def user_errors() -> tuple[type[Exception], ...]:
    """Return the errors that tell users what to do differently. All others are bugs."""
    from search_space.errors import UserError

    errors: list[type[Exception]] = [UsageError, UserError, OSError, MemoryError]
    if "optuna" in sys.modules:  # a database that cannot be reached or written
        from optuna.exceptions import StorageInternalError

        errors.append(StorageInternalError)
    if "sqlalchemy" in sys.modules:
        from sqlalchemy.exc import SQLAlchemyError

        errors.append(SQLAlchemyError)
    return tuple(errors)


def describe(error: Exception) -> str:
    """Return the message of an error, with what the user gave and why it cannot be used."""
    from search_space.errors import UserError

    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return TOO_LITTLE_MEMORY
    own = isinstance(error, (UsageError, UserError))
    if isinstance(error, OSError) and not own and error.strerror:
        verb = "write" if error.errno in _WRITING else "read"
        path = error.filename2 or error.filename
        return f"cannot {verb}{f' {path}' if path else ''}: {error.strerror}"
    if not own and type(error).__module__.startswith(("sqlalchemy.", "optuna.")):
        cause = error.__cause__ or error
        return f"cannot use the storage: {str(cause).strip().splitlines()[0]}"
    return _NUMBER.sub("", str(error))


def one_line(error: Exception) -> str:
    """Return the message of an error in one line, without control characters.

    The middle of a very long message is left out.
    """
    lines = (line.strip() for line in describe(error).splitlines())
    from search_space.errors import mask_secrets, message_text
    from search_space.names import printable

    text = mask_secrets(" ".join(line for line in lines if line))
    return message_text(printable(text)) or type(error).__name__


@contextlib.contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Show warnings of Python in the block without the lines of source that they come from."""
    before = warnings.formatwarning
    warnings.formatwarning = _format_warning
    try:
        yield
    finally:
        warnings.formatwarning = before


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    error = message if isinstance(message, Warning) else category(message)
    return f"nasfpn: warning: {one_line(error)}\n"
