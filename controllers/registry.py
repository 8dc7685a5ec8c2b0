"""The controllers by the names that the command line knows."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from controllers.errors import ControllerError
from controllers.evolution import RegularizedEvolutionSampler
from controllers.local_search import LocalSearchSampler
from controllers.nsga2 import NSGAIISampler
from controllers.ppo import PPOSampler
from controllers.random import RandomSampler
from controllers.samplers import SpaceSampler
from controllers.tpe import TPESampler
from search_space import NASFPNSpace

_SAMPLERS: dict[str, Callable[[NASFPNSpace, int], SpaceSampler]] = {
    "random": RandomSampler,
    "evolution": RegularizedEvolutionSampler,
    "local-search": LocalSearchSampler,
    "ppo": PPOSampler,
    "tpe": TPESampler,
    "nsga2": NSGAIISampler,
}


def names() -> tuple[str, ...]:
    """Return the names that :func:`create_sampler` knows."""
    return tuple(_SAMPLERS)


def create_sampler(name: str, space: NASFPNSpace, seed: int = 0) -> SpaceSampler:
    """Return the controller of that name with its default settings.

    Raises:
        ControllerError: no controller has that name.
    """
    if name not in _SAMPLERS:
        near = difflib.get_close_matches(name, _SAMPLERS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ControllerError(f"a controller is one of {', '.join(_SAMPLERS)}, got {name!r}{hint}")
    return _SAMPLERS[name](space, seed)
