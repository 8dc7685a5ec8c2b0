"""Build nested dataclasses from plain mappings, with a check of every key and type.

Used for recipes and for the descriptions inside exported files.
"""

from __future__ import annotations

import contextlib
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from nasfpn_runtime.errors import RecipeError
from search_space.errors import nearest, value_text

_KINDS = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}


def build(cls: Any, content: object, path: str, where: str) -> Any:
    """Build dataclass ``cls`` from a mapping, with a check of keys and types at every depth.

    Args:
        path: of the mapping, such as ``training``, for messages; empty for the top.
        where: the file or option it comes from, for messages.

    Raises:
        RecipeError: a key is unknown or missing, or a value is of another type or out of range.
    """
    try:
        return check_and_build(cls, content, path)
    except RecipeError as error:
        raise RecipeError(f"{error} (at {where})") from None


def check_and_build(cls: Any, content: object, path: str) -> Any:
    """Build a dataclass as :func:`build` does; its messages do not have ``where``."""
    name = path or cls.__name__.strip("_").lower()
    if not isinstance(content, Mapping):
        raise RecipeError(f"{name} must be a mapping, got {value_text(content)}")
    hints = typing.get_type_hints(cls)
    known = [f.name for f in fields(cls)]
    values: dict[str, Any] = {}
    for key, value in content.items():
        here = f"{path}.{key}" if path else str(key)
        if key not in known:
            raise RecipeError(f"unknown key {value_text(here)[1:-1]}{nearest(str(key), known)}")
        values[key] = _convert(hints[key], value, here)
    missing = [f.name for f in fields(cls) if f.name not in values and _required(f)]
    if missing:
        raise RecipeError(f"{name} must have {', '.join(missing)}, got {value_text(content)}")
    try:
        return cls(**values)
    except RecipeError as error:  # starts with the name of the setting
        raise RecipeError(f"{path}.{error}" if path else str(error)) from None


def _required(entry: Field[Any]) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def _convert(kind: Any, value: object, path: str) -> Any:
    """Return ``value`` as type ``kind``: a plain type, tuple, dataclass, optional one or any."""
    if kind is Any:
        return value
    if is_dataclass(kind):
        return check_and_build(kind, value, path)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return None if value is None else _convert(options[0], value, path)
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        if not isinstance(value, (list, tuple)):
            raise RecipeError(f"{path} must be a list, got {value_text(value)}")
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise RecipeError(f"{path} must be a list of {len(inner)}, got {value_text(value)}")
        return tuple(_convert(inner[0], v, f"{path}[{i}]") for i, v in enumerate(value))
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):  # PyYAML reads 1e-4 as text
            value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RecipeError(f"{path} must be {kind_text(kind)}, got {value_text(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{path} must be a finite number, got {value_text(value)}")
    return value


def kind_text(kind: type) -> str:
    """Return how a message names a type, such as ``a whole number``."""
    return _KINDS.get(kind, f"of type {kind.__name__}")


def plain(value: Any) -> Any:
    """Return a value with all tuples, at every depth, replaced by lists."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    return value
