"""What a user's mistake raises; every message gives the rule, the value and the place."""

from __future__ import annotations


class DataError(ValueError):
    """A data set or a picture cannot be used."""


class RecipeError(ValueError):
    """A recipe has an unknown key or a value out of range."""


class CheckpointError(ValueError):
    """A checkpoint does not fit what it is loaded into."""


class DivergedError(ArithmeticError):
    """The loss of a training run is no longer a number."""


class DeviceError(ValueError):
    """A device that MindSpore cannot use here, or processes that failed on several."""


class TransferError(OSError):
    """Data cannot be copied to or from object storage."""


class EngineError(ValueError):
    """An engine that is not installed, does not read such a file, or refuses it."""
