"""Score a genome by a short training: the one place where controllers meet the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def evaluate(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Train the genome by the recipe and return its metrics on val after the last epoch.

    Args:
        arguments: ``genome`` (JSON v1 text), ``recipe`` (name or path), ``overrides``
            (``a.b=c`` each), ``data`` and ``out`` (folders), ``seed``, ``device``.

    Returns:
        The runtime's metrics (``AP``, ``AP50``, ...) in 0..1.
    """
    from nasfpn_runtime.recipe.recipe import load_recipe
    from nasfpn_runtime.training.runlog import RunOptions
    from nasfpn_runtime.training.train import train
    from search_space import from_json

    result = train(
        load_recipe(arguments["recipe"], arguments["overrides"]),
        from_json(arguments["genome"]),
        Path(arguments["data"]),
        Path(arguments["out"]),
        seed=arguments["seed"],
        device=arguments["device"],
        options=RunOptions(progress=False),
    )
    return dict(result.metrics)
