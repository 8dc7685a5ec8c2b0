"""What a user's mistake raises. Every message names the rule, the value and the place."""

from __future__ import annotations

import re

from search_space.errors import UserError


class DataError(UserError, ValueError):
    """A data set or a picture cannot be used."""


class RecipeError(UserError, ValueError):
    """A recipe has an unknown key or a value out of range."""


class CheckpointError(UserError, ValueError):
    """A checkpoint does not fit what it is loaded into."""


class DivergedError(UserError, ArithmeticError):
    """The loss of a training run is no longer a finite number."""


class DeviceError(UserError, ValueError):
    """MindSpore cannot use a device here, or processes failed on several devices."""


class TransferError(UserError, OSError):
    """Data cannot be copied to or from object storage."""


class EngineError(UserError, ValueError):
    """An engine does not read such a file, or refuses to run it."""


class MissingPackageError(UserError, ImportError):
    """An optional package is not installed."""


def first_line(error: Exception) -> str:
    """Return the line that says what happened in a MindSpore error, whose messages have many."""
    text = str(error)
    cause = re.search(r"\[(?:Internal )?ERROR\] +(?!\[)(.+)", text)
    return cause[1].strip() if cause else next(iter(text.splitlines()), "an error")
