"""Checkpoints: MindSpore ``.ckpt`` files that describe the run they belong to.

A file holds the network's weights under their parameter names, the optimiser's state, and one
text entry, ``nasfpn``, with the :class:`Origin`. Any MindSpore program can read it.
"""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn
from numpy.typing import NDArray

from nasfpn_runtime.cluster.sharing import lock
from nasfpn_runtime.documents import parse_json
from nasfpn_runtime.errors import CheckpointError, DivergedError, DocumentError, RecipeError
from nasfpn_runtime.files import link_or_copy
from nasfpn_runtime.network.integrity import first_non_finite, has_checksum
from nasfpn_runtime.recipe.recipe import Recipe, from_dict
from search_space.codec import from_json, to_json
from search_space.errors import GenomeError, value_text
from search_space.files import listed
from search_space.genome import Genome

ENTRY = "nasfpn"
VERSION = 2
PARTIAL_VERSION = 3  # of a checkpoint saved within an epoch: earlier programs must not resume it
AVERAGE = "ema."  # prefix of the names of averaged weights
_COPY = re.compile(r".+-\d+_\d+\.ckpt")


@dataclass(frozen=True)
class PartialEpoch:
    """The part of an epoch that was done when a run was interrupted.

    Attributes:
        steps: number of steps done.
        losses: losses of those of them that updated the weights.
    """

    steps: int
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Origin:
    """The run that a checkpoint belongs to, and how far it is.

    Attributes:
        categories: names of the object categories, in the order of the classes.
        seed: seed of the run.
        epoch: number of completed epochs.
        best_ap: best validation AP so far; None before the first evaluation.
        partial: what was done of the next epoch; None at the end of an epoch.
        data: digest of each split by its name (see ``data.digest``); None if unknown, as in
            imported checkpoints and those of earlier versions.
        init: digest of the weights that the run started from, empty if they were random; None
            if unknown.
        metrics: COCO's metrics on the validation split after ``epoch``; None if they were not
            computed then, or in a file of an earlier version.
    """

    recipe: Recipe
    genome: Genome
    categories: tuple[str, ...]
    seed: int
    epoch: int
    best_ap: float | None = None
    partial: PartialEpoch | None = None
    data: Mapping[str, str] | None = None
    init: str | None = None
    metrics: Mapping[str, float] | None = None

    @property
    def position(self) -> tuple[int, int]:
        """Number of completed epochs, and of steps done in the next one."""
        return self.epoch, self.partial.steps if self.partial else 0

    @classmethod
    def from_json(cls, text: str, path: Path) -> Origin:
        """Parse the text entry of the checkpoint at ``path``; inverse of :meth:`to_json`.

        Raises:
            CheckpointError: the version is unknown, or the entry is malformed.
        """
        try:
            content = parse_json(text, str(path))
            version = content["version"]
            if version not in range(1, PARTIAL_VERSION + 1):
                raise CheckpointError(
                    f"version of a checkpoint must be from 1 to {PARTIAL_VERSION}, got {version} "
                    f"(at {path}); a later version of this program wrote it"
                )
            _check_entries(content)
            recipe = content["recipe"] if version > 1 else _upgrade(content["recipe"])
            partial = content.get("partial")
            return cls(
                from_dict(recipe, str(path)),
                from_json(json.dumps(content["genome"])),
                tuple(content["categories"]),
                content["seed"],
                content["epoch"],
                content["best_ap"],
                partial and PartialEpoch(partial["steps"], tuple(partial["losses"])),
                content.get("data"),
                content.get("init"),
                content.get("metrics"),
            )
        except (DocumentError, KeyError, TypeError, GenomeError, RecipeError) as error:
            raise CheckpointError(f"cannot read the description in {path}: {error}") from None

    def to_json(self) -> str:
        """Return the text entry of the checkpoint."""
        partial = {"partial": asdict(self.partial)} if self.partial else {}
        return json.dumps(
            {
                "version": PARTIAL_VERSION if self.partial else VERSION,
                "recipe": self.recipe.to_dict(),
                "genome": json.loads(to_json(self.genome)),
                "categories": self.categories,
                "seed": self.seed,
                "epoch": self.epoch,
                "best_ap": self.best_ap,
                "data": self.data and dict(self.data),
                "init": self.init,
                **({"metrics": dict(self.metrics)} if self.metrics else {}),
                **partial,
            }
        )


def _check_entries(content: Mapping[str, Any]) -> None:
    """Check the entries that are used as they are: ``run.json`` may have been edited.

    Raises:
        TypeError: one has another type, or is a number that is not finite.
    """
    for name, value, rule, kinds in (
        ("categories", content["categories"], "a list of names", str),
        ("seed", [content["seed"]], "a whole number", int),
        ("epoch", [content["epoch"]], "a whole number", int),
        ("best_ap", [content["best_ap"] or 0.0], "a finite number", (int, float)),
        ("data", content.get("data") or {}, "digests by split", str),
        ("init", [content.get("init") or ""], "text", str),
        ("metrics", content.get("metrics") or {}, "finite numbers by name", (int, float)),
    ):
        values = value.values() if isinstance(value, dict) else value
        kind = dict if name in ("data", "metrics") else list
        if not isinstance(value, kind) or not all(
            isinstance(item, kinds) and (not isinstance(item, float) or math.isfinite(item))
            for item in values
        ):
            raise TypeError(f"{name} must be {rule}, got {value_text(content[name])}")


def save(
    path: Path,
    net: nn.Cell,
    origin: Origin,
    *,
    keep: bool = False,
    more: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write all parameters of ``net`` and the origin atomically.

    Args:
        keep: keep the file that this one replaces at :func:`previous`.
        more: arrays to save besides, by name.

    Raises:
        DivergedError: see :func:`check_finite`.
        CheckpointError: the file cannot be written. The existing file is unchanged.
    """
    check_finite(net, path, more or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp.ckpt")
    entry: dict[str, Any] = {name: Tensor(array) for name, array in (more or {}).items()}
    entry |= {ENTRY: origin.to_json()}
    with listed(temporary):
        _save_as(temporary, path, net, entry, keep)


def _save_as(temporary: Path, path: Path, net: nn.Cell, entry: dict[str, str], keep: bool) -> None:
    exclusive = lock("mindspore")  # its EngineError is not about the file
    try:
        with exclusive:
            mindspore.save_checkpoint(net, str(temporary), append_dict=entry, crc_check=True)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"cannot write {path}: {reason}; the previous checkpoint is kept"
        ) from None
    else:
        if keep and path.exists():
            os.replace(path, previous(path))
        os.replace(temporary, path)
    finally:  # also after a second Ctrl-C
        for draft in (temporary, temporary.with_suffix(".tmp")):  # the latter is MindSpore's
            draft.unlink(missing_ok=True)


def check_finite(
    net: nn.Cell, path: Path, more: Mapping[str, NDArray[Any]] = MappingProxyType({})
) -> None:
    """Check that every number in the parameters of ``net`` is finite, before they are saved.

    Args:
        path: where they would be saved, for the message.
        more: arrays that would be saved besides, by name.

    Raises:
        DivergedError: a parameter or an array has a NaN or an infinity.
    """
    parameters = ((parameter.name, parameter.asnumpy()) for parameter in net.get_parameters())
    if found := first_non_finite(chain(parameters, more.items())):
        raise DivergedError(
            f"all numbers of a checkpoint must be finite, got {found[1]} in {found[0]} (at "
            f"{path}); nothing was saved, and an earlier checkpoint there is kept"
        )


def keep_copy(path: Path, name: str, most: int) -> None:
    """Keep the file at ``path`` under another name beside it; remove all but the newest copies.

    Args:
        name: name of the copy, ``<recipe>-<epoch>_<step>.ckpt``.
        most: number of copies to keep.
    """
    kept = path.with_name(name)
    kept.unlink(missing_ok=True)
    link_or_copy(path, kept)
    copies = [p for p in path.parent.glob("*.ckpt") if _COPY.fullmatch(p.name)]
    copies.sort(key=lambda p: int(p.stem.rpartition("_")[2]))
    for old in copies[:-most]:
        old.unlink()


def previous(path: Path) -> Path:
    """Return the path of the checkpoint that the last save at ``path`` replaced."""
    return path.with_name(f"{path.stem}.previous.ckpt")


def load_newest(path: Path) -> tuple[dict[str, NDArray[Any]], Origin] | None:
    """Load the checkpoint at ``path``, or the previous one, with a warning, if that is broken.

    Returns:
        The arrays and origin, see :func:`load`; None if there is neither file.

    Raises:
        CheckpointError: all existing files are broken.
    """
    files = [file for file in (path, previous(path)) if file.exists()]
    for file in files:
        try:
            return load(file)
        except CheckpointError as error:
            if file == files[-1]:
                raise
            message = f"{error}; resuming from the previous checkpoint"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
    return None


def drop_broken(path: Path) -> None:
    """Replace a broken checkpoint at ``path`` by the previous one.

    Otherwise the next :func:`save` would replace the previous checkpoint by the broken one. Call
    this in one process only, after all processes have called :func:`load_newest`. ``path`` is
    read once more. Nothing happens unless both files exist.
    """
    if not path.exists() or not previous(path).exists():
        return
    try:
        load(path)
    except CheckpointError:
        os.replace(previous(path), path)


def load(path: Path) -> tuple[dict[str, NDArray[Any]], Origin]:
    """Read a checkpoint written by :func:`save`.

    Returns:
        Arrays by parameter name, and the origin.

    Raises:
        CheckpointError: the file is missing, truncated, changed or not written by this program, or
            it has a number that is not finite.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    exclusive = lock("mindspore")
    try:
        with exclusive:
            entries: dict[str, Any] = mindspore.load_checkpoint(str(path), crc_check=True)
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"cannot read {path}, which is damaged: {reason}") from None
    text = entries.pop(ENTRY, None)
    if text is None:
        raise CheckpointError(
            f"cannot use {path}: it has no entry {ENTRY!r} with its recipe and genome, so it is "
            f"not a checkpoint of this program"
        )
    arrays = {name: value.asnumpy() for name, value in entries.items()}
    if found := first_non_finite(arrays.items()):
        raise CheckpointError(
            f"cannot use {path}: all numbers of a checkpoint must be finite, got {found[1]} in "
            f"{found[0]}; the training diverged, use an earlier checkpoint"
        )
    origin = Origin.from_json(str(text), path)
    # Versions that write the key `init` always write a checksum; the first ones did not.
    if '"init": ' in str(text) and not has_checksum(path):
        raise CheckpointError(f"cannot read {path}, which is damaged: its checksum is missing")
    return arrays, origin


def load_weights(path: Path) -> tuple[dict[str, NDArray[Any]], Origin]:
    """Load a checkpoint for inference: the averaged weights if the run kept them.

    Returns and raises as :func:`load`.
    """
    arrays, origin = load(path)
    averages = {n.removeprefix(AVERAGE): a for n, a in arrays.items() if n.startswith(AVERAGE)}
    return arrays | averages, origin


def _upgrade(recipe: dict[str, Any]) -> dict[str, Any]:
    """Upgrade a recipe of version 1, whose dialect had other batch norm constants."""
    model = {"norm_epsilon": 1e-4, **recipe["model"]}
    if model["norm_momentum"] is None:
        model["norm_momentum"] = 0.997
    return {**recipe, "model": model}


def restore(net: nn.Cell, arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Set every parameter of ``net`` from ``arrays``; extra arrays are ignored.

    Args:
        path: file that the arrays come from, for the message.

    Raises:
        CheckpointError: a parameter is missing or has another shape. No parameter is set then.
    """
    parameters: list[Parameter] = list(net.get_parameters())
    wrong = [
        parameter.name
        for parameter in parameters
        if parameter.name not in arrays or not _same_shape(arrays[parameter.name], parameter)
    ]
    if wrong:
        raise CheckpointError(
            f"cannot load {path} into this network: {len(wrong)} parameters are missing or have "
            f"another shape, the first is {wrong[0]}"
        )
    assign({parameter.name: parameter for parameter in parameters}, arrays)


def assign(parameters: Mapping[str, Parameter], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set parameters by name; every name and shape must match."""
    for name, parameter in parameters.items():
        # The reshape is for scalars, to which ascontiguousarray adds an axis.
        array = np.ascontiguousarray(arrays[name]).reshape(parameter.shape)
        parameter.set_data(Tensor(array, parameter.dtype))


def _same_shape(array: NDArray[Any], parameter: Parameter) -> bool:
    """Return whether the shapes are equal, or both of one element: old files have (1,) for ()."""
    return array.shape == tuple(parameter.shape) or (array.size == 1 and parameter.size == 1)
