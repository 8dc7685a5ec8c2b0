"""Which errors are the user's. They are printed in one line, and the exit code is 2."""

from __future__ import annotations


class UsageError(Exception):
    """Options or arguments of a command that cannot be used."""


def user_errors() -> tuple[type[Exception], ...]:
    """Return the errors that tell users what to do differently. All others are bugs."""
    from search_space.errors import UserError

    return (UsageError, UserError, OSError)


def one_line(error: Exception) -> str:
    """Return the message of an error in one line."""
    lines = (line.strip() for line in str(error).splitlines())
    return " ".join(line for line in lines if line) or type(error).__name__
