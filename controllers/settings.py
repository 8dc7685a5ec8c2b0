"""The settings of the controllers: the keyword-only arguments of their classes.

Names, types and defaults are read from the signatures, so there is no second list of them.
The ranges are checked by the classes themselves, with :func:`check_range`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import Any

from controllers.errors import ControllerError
from search_space.errors import nearest, value_text
from search_space.rules import as_int

MOST = 100_000  # of a setting that counts trials


@dataclass(frozen=True)
class Setting:
    """One setting of a controller.

    Attributes:
        kind: ``int`` or ``float``.
        default: its value if it is not given.
    """

    kind: type
    default: float


def settings_of(sampler: Callable[..., Any]) -> dict[str, Setting]:
    """Return the settings of a sampler class by name, in the order of its signature.

    Only numbers are settings. A keyword argument of another type, such as a function, can be given
    from Python only.
    """
    parameters = inspect.signature(sampler, eval_str=True).parameters.values()
    return {
        parameter.name: Setting(parameter.annotation, parameter.default)
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.annotation in (int, float)
    }


def parse_settings(assignments: Sequence[str]) -> dict[str, Any]:
    """Return the settings in texts such as ``population=30``; the last of equal keys counts.

    A value that is not a number stays text, which :func:`check_settings` then refuses.

    Raises:
        ControllerError: a text is not KEY=VALUE.
    """
    settings = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not key.strip() or not equals:
            raise ControllerError(f"a controller setting must be KEY=VALUE, got {value_text(text)}")
        settings[key.strip()] = _number(value)
    return settings


def check_settings(
    controller: str, known: Mapping[str, Setting], settings: Mapping[str, Any]
) -> dict[str, float]:
    """Return the settings with each value in the type that its setting has.

    Args:
        controller: name of the controller, for messages.
        known: its settings (:func:`settings_of`).
        settings: values by key.

    Raises:
        ControllerError: an unknown key, or a value that is not a number of the right type.
    """
    checked = {}
    for key, value in settings.items():
        if key not in known:
            raise ControllerError(_unknown(controller, known, key))
        number = _convert(known[key].kind, value)
        if number is None:
            rule = "an integer" if known[key].kind is int else "a finite number"
            raise ControllerError(
                f"{key} must be {rule}, got {value_text(value)} (at controller {controller})"
            )
        checked[key] = number
    return checked


def check_range(name: str, value: float, holds: bool, rule: str) -> None:
    """Raise ControllerError with the name, the rule and the value unless the rule holds."""
    if not holds:
        raise ControllerError(f"{name} must be {rule}, got {value}")


def check_count(name: str, value: object, least: int, most: int) -> int:
    """Return a setting that counts as a plain integer.

    Raises:
        ControllerError: it is no integer, or not in the range.
    """
    number = as_int(value)
    if number is None:
        raise ControllerError(f"{name} must be an integer, got {value_text(value)}")
    check_range(name, number, least <= number <= most, f"{least} or more, at most {most:,}")
    return number


def _number(text: str) -> Any:
    for convert in (int, float):
        with suppress(ValueError):
            return convert(text)
    return text


def _convert(kind: type, value: Any) -> float | None:
    """Return the value as an int or a finite float; None if it is not one."""
    if isinstance(value, bool):
        return None
    if kind is int:
        return as_int(value)
    with suppress(OverflowError):  # an int too large for a float
        if isinstance(value, Real) and math.isfinite(value):
            return float(value)
    return None


def _unknown(controller: str, known: Mapping[str, Setting], key: str) -> str:
    if not known:
        return f"controller {controller} has no settings, got {value_text(key)}"
    return (
        f"a setting of controller {controller} must be one of {', '.join(known)}, "
        f"got {value_text(key)}{nearest(key, known)}"
    )
