"""Which errors are the user's: told in one line, exit code 2."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the user, in one line; the command ends with exit code 2."""


def user_errors() -> tuple[type[Exception], ...]:
    """Return the errors that tell the user what to do differently; all others are bugs."""
    from nasfpn_runtime.errors import (
        CheckpointError,
        DataError,
        DeviceError,
        DivergedError,
        EngineError,
        RecipeError,
    )
    from search_space.rules import GenomeError

    return (
        UserError,
        GenomeError,
        DataError,
        RecipeError,
        CheckpointError,
        DeviceError,
        DivergedError,
        EngineError,
        OSError,
    )
