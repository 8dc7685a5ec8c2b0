"""The controllers by the names that the command line uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from controllers.errors import ControllerError
from controllers.evolution import RegularizedEvolutionSampler
from controllers.gp import GPSampler
from controllers.local_search import LocalSearchSampler
from controllers.nsga2 import NSGAIISampler
from controllers.ppo import PPOSampler
from controllers.random import RandomSampler
from controllers.samplers import SpaceSampler
from controllers.settings import Setting, check_settings, settings_of
from controllers.tpe import TPESampler
from search_space import SearchSpace
from search_space.errors import nearest

_SAMPLERS: dict[str, Callable[..., SpaceSampler]] = {
    "random": RandomSampler,
    "evolution": RegularizedEvolutionSampler,
    "local-search": LocalSearchSampler,
    "ppo": PPOSampler,
    "tpe": TPESampler,
    "nsga2": NSGAIISampler,
    "gp": GPSampler,
}


def names() -> tuple[str, ...]:
    """Return the names that :func:`create_sampler` knows."""
    return tuple(_SAMPLERS)


def controller_settings(name: str) -> dict[str, Setting]:
    """Return the settings of the controller of that name, by key.

    Raises:
        ControllerError: no controller has that name.
    """
    if name not in _SAMPLERS:
        raise ControllerError(
            f"a controller must be one of {', '.join(_SAMPLERS)}, "
            f"got {name!r}{nearest(name, _SAMPLERS)}"
        )
    return settings_of(_SAMPLERS[name])


def check_controller(name: str, settings: Mapping[str, Any]) -> dict[str, float]:
    """Return the settings of a controller, each value in the type that its setting has.

    Raises:
        ControllerError: no controller has that name, it has no such setting, or a value has
            another type.
    """
    return check_settings(name, controller_settings(name), settings)


def create_sampler(
    name: str, space: SearchSpace, seed: int = 0, settings: Mapping[str, Any] | None = None
) -> SpaceSampler:
    """Return the controller of that name.

    Args:
        name: one of :func:`names`.
        space: what to search.
        seed: proposals of two seeds are independent.
        settings: values of its settings by key; the others keep their defaults.

    Raises:
        ControllerError: no controller has that name, it has no such setting, or a value has
            another type or is out of range.
    """
    checked = check_controller(name, settings or {})
    try:
        return _SAMPLERS[name](space, seed, **checked)
    except ControllerError as error:
        raise ControllerError(f"{error} (at controller {name})") from None
