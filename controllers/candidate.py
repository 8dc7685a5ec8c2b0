"""Score a genome by a short training: the only module of controllers that uses the runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controllers.errors import SearchError
from nasfpn_runtime.data import digest
from nasfpn_runtime.data.backgrounds import check_backgrounds, left_out
from nasfpn_runtime.data.dataset import check_same_categories, load_split
from nasfpn_runtime.errors import ChangedDataError, InitError
from nasfpn_runtime.recipe import recipe as recipes
from nasfpn_runtime.recipe.recipe import Recipe, from_dict
from search_space import Cost, Genome, detector_cost, from_json

if TYPE_CHECKING:
    from nasfpn_runtime.training.finetune import Init


def prepare(
    recipe: Recipe,
    data: Path,
    *,
    seed: int,
    device: str,
    report: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Return what every candidate of a search gets, besides its genome and folder.

    The recipe is passed on as its settings and the dataset with its digests, so that a file that
    is edited during the search cannot change what a score means.

    Args:
        report: takes a line on the images that every training leaves out, if there are any.

    Returns:
        JSON data: ``recipe`` (all settings), ``data`` (absolute path of the folder), ``digests``
        (of the splits ``train`` and ``val``, see ``data.digest``), ``categories`` (their number),
        ``seed``, ``device``.

    Raises:
        DataError: the splits ``train`` and ``val`` cannot be used.
    """
    reading = recipe.data.reading
    splits = {split: load_split(data, split, reading=reading) for split in ("train", "val")}
    check_same_categories(*splits.values())
    check_backgrounds(splits["train"], recipe.data.background)
    line = left_out(splits["train"], recipe.data.background)
    if report is not None and line:
        report(line)
    return {
        "recipe": recipe.to_dict(),
        "data": str(data.resolve()),
        "digests": digest.digests(splits),
        "categories": len(splits["train"].categories),
        "seed": seed,
        "device": device,
    }


def with_recipe(prepared: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Return what :func:`prepare` returns for another recipe and the same data, seed and device.

    The dataset is read again only if the recipe reads it in another way, or trains on another share
    of the images without boxes.

    Args:
        prepared: what it returned for a recipe.

    Raises:
        DataError: as :func:`prepare`.
    """
    before = from_dict(prepared["recipe"], "the recipe of the search").data
    if (before.reading, before.background) == (recipe.data.reading, recipe.data.background):
        return {**prepared, "recipe": recipe.to_dict()}
    folder = Path(prepared["data"])
    return prepare(recipe, folder, seed=prepared["seed"], device=prepared["device"])


def evaluate(
    arguments: Mapping[str, Any], report: Callable[[Mapping[str, Any]], None] | None = None
) -> dict[str, float]:
    """Train the genome by the recipe and return its metrics on val after the last epoch.

    Args:
        arguments: those of :func:`prepare`, ``genome`` (JSON v1 text) and ``out`` (folder);
            ``init`` for a warm start (see ``reference.ready``).
        report: called before the training and after each epoch with ``epoch`` (epochs done),
            ``epochs`` and, after an epoch, ``loss`` (its mean).

    Returns:
        The runtime's metrics (``AP``, ``AP50``, ...) in 0..1.

    Raises:
        SearchError: the dataset, or the weights to start from, are no longer those that the
            search started with; or no candidate can start from these weights.
    """
    # Here, because the process of the search imports this module too, and needs no MindSpore.
    from nasfpn_runtime.training.runlog import RunOptions
    from nasfpn_runtime.training.train import train

    recipe = from_dict(arguments["recipe"], "the recipe of the search")
    epochs = recipe.training.epochs

    def report_epoch(record: Mapping[str, Any]) -> None:
        if report is not None:
            report({"epoch": record["epoch"], "epochs": epochs, "loss": record["loss"]})

    if report is not None:
        report({"epoch": 0, "epochs": epochs})
    try:
        result = train(
            recipe,
            from_json(arguments["genome"]),
            Path(arguments["data"]),
            Path(arguments["out"]),
            seed=arguments["seed"],
            device=arguments["device"],
            options=RunOptions(progress=False, on_epoch=report_epoch),
            expected=arguments["digests"],
            init=_init(arguments["init"]) if "init" in arguments else None,
        )
    except (ChangedDataError, InitError) as error:
        raise SearchError(str(error)) from None
    return dict(result.metrics)


def _init(given: Mapping[str, Any]) -> Init:
    """Return the weights that a candidate starts from, which has cells of its own.

    Raises:
        InitError: the file is not the one that the search started with.
    """
    from nasfpn_runtime.training.finetune import Init

    path = Path(given["path"])
    if (digest := Init(path).digest()) != given["digest"]:
        raise InitError(
            f"the weights in {path} must be those that the search started with, "
            f"{given['digest'][:14]}, got {digest[:14]}; restore the file to go on"
        )
    return Init(path, drop_head=given["drop_head"], drop_cells=True)


def dependencies(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the score of a genome depends on besides the seed: recipe and data.

    Args:
        arguments: see :func:`prepare`.

    Returns:
        ``recipe``, all settings but its description; ``data``, the digests of the splits; and
        ``annotations``, a hash of the annotation files, which studies of earlier versions have
        instead.
    """
    recipe = dict(arguments["recipe"])
    del recipe["description"]  # rewording it changes no score
    annotations = _fingerprint(Path(arguments["data"]))
    return {"recipe": recipe, "data": arguments["digests"], "annotations": annotations}


def settings_and_data(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the score of a genome depends on besides the seed, for a hash.

    Only settings that differ from their defaults are in it, so that a setting that a later version
    adds does not change it. The name of the recipe is not in it: another file with the same
    settings trains the same.

    Args:
        arguments: see :func:`prepare`.

    Returns:
        ``recipe``; ``data``, the digests of the splits; and ``init``, the digest of the weights
        that trainings start from, if there are any.
    """
    recipe = _changed(Recipe(name="").to_dict(), arguments["recipe"])
    names = ("name", "description")
    kept = {key: value for key, value in recipe.items() if key not in names}
    init = {key: arguments["init"][key] for key in ("digest", "drop_head") if "init" in arguments}
    return {
        "recipe": kept,
        "data": dict(arguments["digests"]),
        **({"init": init} if init else {}),
    }


def cost(arguments: Mapping[str, Any], genome: Genome) -> Cost:
    """Return the cost of a genome's detector.

    Args:
        arguments: see :func:`prepare`.
        genome: the genome.
    """
    recipe = from_dict(arguments["recipe"], "the recipe of the search")
    return detector_cost(genome, recipe.shape(arguments["categories"], genome.levels))


def comparable(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Return whether the digests of two datasets are of one version (see ``data.digest``)."""
    return all(digest.comparable(one[split], other[split]) for split in one.keys() & other.keys())


def complete_recipe(recipe: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the settings of a stored recipe under the names that they have now.

    A setting that is missing, because it did not exist when the recipe was stored, has its
    default.

    Args:
        recipe: settings by section.
        where: where they are stored, for messages.
    """
    defaults = Recipe(name="").to_dict()
    del defaults["description"]  # is not stored, see dependencies
    return _merged(defaults, recipes.with_present_names(recipe, where))


def _merged(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings with the values of ``given``, and defaults where it has none."""
    both = {
        key: _merged(value, given[key])
        for key, value in defaults.items()
        if isinstance(value, Mapping) and isinstance(given.get(key), Mapping)
    }
    return {**defaults, **given, **both}


def _changed(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of nested mappings that are not those of ``defaults``."""
    changed = {}
    for key, value in given.items():
        default = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            if inner := _changed(default, value):
                changed[key] = inner
        elif value != default:
            changed[key] = value
    return changed


def _fingerprint(data: Path) -> str:
    """Return a hash of names and contents of the files ``annotations/*.json``.

    A copy of the dataset in another folder has the same. Datasets in other formats than COCO
    have no such files, so all of them have the same hash; the digests tell them apart.
    """
    total = hashlib.sha256()
    for path in sorted((data / "annotations").glob("*.json")):
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
