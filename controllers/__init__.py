"""Controllers, which propose the next pyramid, as Optuna samplers; and the search around them.

README.md in this folder is the map.
"""

from __future__ import annotations

from controllers.evolution import RegularizedEvolutionSampler
from controllers.gp import GPSampler
from controllers.local_search import LocalSearchSampler
from controllers.nsga2 import NSGAIISampler
from controllers.ppo import PPOSampler
from controllers.random import RandomSampler
from controllers.registry import create_sampler, names
from controllers.samplers import suggest
from controllers.tpe import TPESampler

__all__ = [
    "GPSampler",
    "LocalSearchSampler",
    "NSGAIISampler",
    "PPOSampler",
    "RandomSampler",
    "RegularizedEvolutionSampler",
    "TPESampler",
    "create_sampler",
    "names",
    "suggest",
]
