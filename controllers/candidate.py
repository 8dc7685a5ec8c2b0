"""Score a genome by a short training: the only module of controllers that uses the runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.recipe import recipe as recipes
from nasfpn_runtime.recipe.recipe import load_recipe
from search_space import from_json


def evaluate(
    arguments: Mapping[str, Any], report: Callable[[Mapping[str, Any]], None] | None = None
) -> dict[str, float]:
    """Train the genome by the recipe and return its metrics on val after the last epoch.

    Args:
        arguments: ``genome`` (JSON v1 text), ``recipe`` (name or path), ``overrides``
            (``a.b=c`` each), ``data`` and ``out`` (folders), ``seed``, ``device``.
        report: called before the training and after each epoch with ``epoch`` (epochs done),
            ``epochs`` and, after an epoch, ``loss`` (its mean).

    Returns:
        The runtime's metrics (``AP``, ``AP50``, ...) in 0..1.
    """
    # Here, because the process of the search imports this module too, and needs no MindSpore.
    from nasfpn_runtime.training.runlog import RunOptions
    from nasfpn_runtime.training.train import train

    recipe = load_recipe(arguments["recipe"], arguments["overrides"])
    epochs = recipe.training.epochs

    def report_epoch(record: Mapping[str, Any]) -> None:
        if report is not None:
            report({"epoch": record["epoch"], "epochs": epochs, "loss": record["loss"]})

    if report is not None:
        report({"epoch": 0, "epochs": epochs})
    result = train(
        recipe,
        from_json(arguments["genome"]),
        Path(arguments["data"]),
        Path(arguments["out"]),
        seed=arguments["seed"],
        device=arguments["device"],
        options=RunOptions(progress=False, on_epoch=report_epoch),
    )
    return dict(result.metrics)


def dependencies(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the score of a genome depends on besides the seed: recipe and annotations.

    Args:
        arguments: ``recipe``, ``overrides`` and ``data``, as for :func:`evaluate`.

    Returns:
        ``recipe``, all settings but its description, and ``annotations``, a hash of the
        annotation files.

    Raises:
        DataError: the splits ``train`` and ``val`` cannot be used.
        RecipeError: the recipe or an override is wrong.
    """
    recipe = asdict(load_recipe(arguments["recipe"], arguments["overrides"]))
    del recipe["description"]  # rewording it changes no score
    data = Path(arguments["data"])
    for split in ("train", "val"):
        load_split(data, split)
    return {"recipe": recipe, "annotations": _fingerprint(data)}


def with_present_names(recipe: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the settings of a stored recipe under the names that they have now.

    Args:
        recipe: settings by section.
        where: where they are stored, for messages.
    """
    return recipes.with_present_names(recipe, where)


def _fingerprint(data: Path) -> str:
    """Return a hash of names and contents of the files ``annotations/*.json``.

    A copy of the dataset in another folder has the same. Datasets in other formats than COCO
    have no such files, so all of them have the same hash.
    """
    digest = hashlib.sha256()
    for path in sorted((data / "annotations").glob("*.json")):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
