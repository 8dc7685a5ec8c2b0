"""What a user's mistake raises. Every message names the rule, the value and the place."""

from __future__ import annotations

import re
import warnings

from search_space.errors import UserError


class DataError(UserError, ValueError):
    """A dataset or a picture cannot be used."""


class ChangedDataError(DataError):
    """A dataset is not the one that a result or a search belongs to."""


class RecipeError(UserError, ValueError):
    """A recipe has an unknown key or a value out of range."""


class CheckpointError(UserError, ValueError):
    """A checkpoint does not fit what it is loaded into."""


class InitError(CheckpointError):
    """A run cannot start from the weights that it was given."""


class DivergedError(UserError, ArithmeticError):
    """The loss of a training run is no longer a finite number."""


class DeviceError(UserError, ValueError):
    """MindSpore cannot use a device here, or processes failed on several devices."""


class TransferError(UserError, OSError):
    """Data cannot be copied to or from object storage."""


class EngineError(UserError, ValueError):
    """An engine does not read such a file, or refuses to run it."""


class DocumentError(UserError, ValueError):
    """A YAML or JSON text cannot be read, or is ambiguous."""


class ProcessError(UserError, RuntimeError):
    """A child process failed."""


class OutputError(UserError, OSError):
    """A command must not, or cannot, write a file."""


class MissingPackageError(UserError, ImportError):
    """An optional package is not installed."""


def warn_renamed(old: str, present: str) -> None:
    """Warn, at the line that called the caller, that a public name will go in version 0.3."""
    warnings.warn(
        f"{old} is now {present}; the old name will be removed in version 0.3",
        DeprecationWarning,
        stacklevel=3,
    )


def first_line(error: Exception) -> str:
    """Return the two sentences that say what happened in a MindSpore error of many lines."""
    text = str(error)
    cause = re.search(r"\[(?:Internal )?ERROR\] +(?!\[)(.+)", text)
    lines = [cause[1]] if cause else text.strip().splitlines()
    if not lines:
        return "an error"
    sentences = re.split(r"(?<=[\w\])'\"])\. +(?=[A-Z])", lines[0].strip())
    return ". ".join(sentences[:2])  # the others advise how to build MindSpore
