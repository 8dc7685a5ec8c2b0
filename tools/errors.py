"""Which errors are the user's. They are printed in one line, and the exit code is 2."""

from __future__ import annotations


class UsageError(Exception):
    """Options or arguments of a command that cannot be used."""


def user_errors() -> tuple[type[Exception], ...]:
    """Return the errors that tell users what to do differently. All others are bugs."""
    from search_space.errors import UserError

    return (UsageError, UserError, OSError)
