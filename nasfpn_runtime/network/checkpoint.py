"""Checkpoints: a MindSpore ``.ckpt`` that says what it is a checkpoint of.

The weights have the detector's own names; the optimiser's state and one text entry,
``nasfpn``, lie beside them. Any MindSpore program can read the file.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn
from numpy.typing import NDArray

from nasfpn_runtime.errors import CheckpointError, RecipeError
from nasfpn_runtime.files import link_or_copy
from nasfpn_runtime.recipe.recipe import Recipe, from_dict
from search_space.codec import from_json, to_json
from search_space.errors import GenomeError
from search_space.genome import Genome

ENTRY = "nasfpn"
VERSION = 2
AVERAGE = "ema."  # before the names of averaged weights
_COPY = re.compile(r".+-\d+_\d+\.ckpt")


@dataclass(frozen=True)
class Origin:
    """What a checkpoint is a checkpoint of.

    Attributes:
        epoch: epochs done.
        seed: of the run.
        best_ap: best validation AP so far, None before the first evaluation.
    """

    recipe: Recipe
    genome: Genome
    categories: tuple[str, ...]
    seed: int
    epoch: int
    best_ap: float | None = None

    def to_json(self) -> str:
        """Return the text entry of the file."""
        return json.dumps(
            {
                "version": VERSION,
                "recipe": self.recipe.to_dict(),
                "genome": json.loads(to_json(self.genome)),
                "categories": self.categories,
                "seed": self.seed,
                "epoch": self.epoch,
                "best_ap": self.best_ap,
            }
        )


def save(path: Path, net: nn.Cell, origin: Origin, *, keep: bool = False) -> None:
    """Write every parameter of ``net`` and the origin; the file appears whole or not at all.

    Args:
        keep: the file that was there becomes :func:`previous`.

    Raises:
        CheckpointError: the file cannot be written; what was there is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp.ckpt")
    entry = {ENTRY: origin.to_json()}
    try:
        mindspore.save_checkpoint(net, str(temporary), append_dict=entry, crc_check=True)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    except (OSError, RuntimeError, ValueError) as error:
        for left in (temporary, temporary.with_suffix(".tmp")):  # the latter is MindSpore's
            left.unlink(missing_ok=True)
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"cannot write {path}, the one before is kept: {reason}") from None
    if keep and path.exists():
        os.replace(path, previous(path))
    os.replace(temporary, path)


def keep_copy(path: Path, name: str, most: int) -> None:
    """Keep the file at ``path`` by another name beside it, and the ``most`` newest of such.

    Args:
        name: ``<recipe>-<epoch>_<step>.ckpt``.
    """
    kept = path.with_name(name)
    kept.unlink(missing_ok=True)
    link_or_copy(path, kept)
    copies = [p for p in path.parent.glob("*.ckpt") if _COPY.fullmatch(p.name)]
    copies.sort(key=lambda p: int(p.stem.rpartition("_")[2]))
    for old in copies[:-most]:
        old.unlink()


def previous(path: Path) -> Path:
    """Return where the file that was at ``path`` before the last save is kept."""
    return path.with_name(f"{path.stem}.previous.ckpt")


def load_newest(path: Path) -> tuple[dict[str, NDArray[Any]], Origin] | None:
    """Load ``path``, or, with a warning, the previous one if it is broken; None without both.

    Raises:
        CheckpointError: what there is, is broken.
    """
    places = [place for place in (path, previous(path)) if place.exists()]
    for place in places:
        try:
            return load(place)
        except CheckpointError as error:
            if place == places[-1]:
                raise
            warnings.warn(f"{error}; going on from the one before", RuntimeWarning, stacklevel=2)
    return None


def drop_broken(path: Path) -> None:
    """Put the previous file in the place of a broken one, lest :func:`save` do the opposite.

    For the one process that goes on with what :func:`load_newest` gave, when all have loaded;
    ``path`` is read once more. Without both nothing happens.
    """
    if not path.exists() or not previous(path).exists():
        return
    try:
        load(path)
    except CheckpointError:
        os.replace(previous(path), path)


def load(path: Path) -> tuple[dict[str, NDArray[Any]], Origin]:
    """Read a file written by :func:`save`: arrays by parameter name, and the origin.

    Raises:
        CheckpointError: missing, truncated, or not written by this program.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        entries: dict[str, Any] = mindspore.load_checkpoint(str(path), crc_check=True)
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{path} is not a whole checkpoint: {reason}") from None
    text = entries.pop(ENTRY, None)
    if text is None:
        raise CheckpointError(f"{path} does not say which recipe and genome it belongs to")
    arrays = {name: value.asnumpy() for name, value in entries.items()}
    return arrays, _origin(str(text), path)


def load_weights(path: Path) -> tuple[dict[str, NDArray[Any]], Origin]:
    """:func:`load` what a detector is used with: averaged weights where the run had them."""
    arrays, origin = load(path)
    averages = {n.removeprefix(AVERAGE): a for n, a in arrays.items() if n.startswith(AVERAGE)}
    return arrays | averages, origin


def _origin(text: str, path: Path) -> Origin:
    try:
        content = json.loads(text)
        if content["version"] not in (1, VERSION):
            raise CheckpointError(f"{path} has version {content['version']}, not {VERSION}")
        recipe = content["recipe"] if content["version"] == VERSION else _upgrade(content["recipe"])
        return Origin(
            from_dict(recipe, str(path)),
            from_json(json.dumps(content["genome"])),
            tuple(content["categories"]),
            content["seed"],
            content["epoch"],
            content["best_ap"],
        )
    except (json.JSONDecodeError, KeyError, TypeError, GenomeError, RecipeError) as error:
        raise CheckpointError(f"{path} has a broken description: {error}") from None


def _upgrade(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe of version 1, whose dialect had other constants of batch norm."""
    model = {"norm_epsilon": 1e-4, **recipe["model"]}
    if model["norm_momentum"] is None:
        model["norm_momentum"] = 0.997
    return {**recipe, "model": model}


def restore(net: nn.Cell, arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Set every parameter of ``net``; entries that ``net`` lacks are left alone.

    Raises:
        CheckpointError: a parameter is missing or has another shape; nothing is set then.
    """
    parameters: list[Parameter] = list(net.get_parameters())
    wrong = [
        parameter.name
        for parameter in parameters
        if parameter.name not in arrays or not _fits(arrays[parameter.name], parameter)
    ]
    if wrong:
        raise CheckpointError(
            f"{path} is of another network: {len(wrong)} parameters are missing or have another "
            f"shape, {wrong[0]} first"
        )
    assign({parameter.name: parameter for parameter in parameters}, arrays)


def assign(parameters: Mapping[str, Parameter], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set parameters by name; names and shapes fit."""
    for name, parameter in parameters.items():
        # ascontiguousarray gives a scalar an axis.
        array = np.ascontiguousarray(arrays[name]).reshape(parameter.shape)
        parameter.set_data(Tensor(array, parameter.dtype))


def _fits(array: NDArray[Any], parameter: Parameter) -> bool:
    """Return whether shapes are equal; (1,) is taken for (), as which it was once saved."""
    return array.shape == tuple(parameter.shape) or (array.size == 1 and parameter.size == 1)
