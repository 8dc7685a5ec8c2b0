"""Start a training from a checkpoint, and hold parts of the backbone as they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from mindspore import Parameter, nn

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.network.resnet import ResNet
from search_space.genome import Genome

PARTS = ("backbone", "pyramid", "head")
# Shared over levels or one a level.
CLASSES = re.compile(r"head\.classes\.([0-9]+\.)?predict\..*")
PREDICTIONS = re.compile(r"head\.(classes|boxes)\.([0-9]+\.)?predict\..*")
SHOWN = 3  # names in a message


@dataclass(frozen=True)
class Init:
    """Initial weights: a checkpoint of ours, and whether to leave out what predicts classes."""

    path: Path
    drop_head: bool = False


@dataclass(frozen=True)
class Started:
    """Names of the parameters that were loaded, and of those that kept their initial values."""

    loaded: tuple[str, ...]
    kept: tuple[str, ...]

    def report(self) -> str:
        """Return two lines: what was loaded, and what was not."""
        return f"loaded          {_counts(self.loaded)}\ninitial values  {_counts(self.kept)}"


def start_from(
    net: Network, genome: Genome, init: Init, categories: Sequence[str] | None = None
) -> Started:
    """Set the parameters of a detector from a checkpoint of ours.

    A part (backbone, pyramid, head) that the file lacks altogether is left as it is; any
    other must fit in every name and shape. With ``drop_head`` what predicts classes is left
    as it is, and so is what predicts boxes if it does not fit.

    Args:
        genome: of the detector.
        categories: of the detector, by class number; None to compare their number alone.

    Raises:
        CheckpointError: the file is not a whole checkpoint, or does not fit; or it has a head
            for other categories, or in another order, that is not dropped. Nothing is set.
    """
    arrays, origin = checkpoint.load_weights(init.path)
    parts = {name.split(".")[0] for name in arrays} & set(PARTS)
    if "pyramid" in parts and origin.genome != genome:
        raise CheckpointError(f"the genome is that of {init.path}, got another one")
    if "head" in parts and categories is not None and not init.drop_head:
        _check_categories(origin.categories, tuple(categories), init.path)
    shapes = {name: array.shape for name, array in arrays.items() if _part(name) in parts}
    parameters: dict[str, Parameter] = {p.name: p for p in net.get_parameters()}
    wanted = {name: tuple(p.shape) for name, p in parameters.items() if _part(name) in parts}
    differ = {name for name in shapes.keys() | wanted if shapes.get(name) != wanted.get(name)}
    dropped = {name for name in wanted if CLASSES.fullmatch(name)} if init.drop_head else set()
    dropped |= {name for name in differ if init.drop_head and PREDICTIONS.fullmatch(name)}
    if wrong := sorted(differ - dropped):
        only_head = all(PREDICTIONS.fullmatch(name) for name in wrong)
        raise CheckpointError(
            f"the network has the parameters of {init.path}, but {len(wrong)} are missing or of "
            f"another shape: {', '.join(wrong[:SHOWN])}"
            + ("; --drop-head leaves out what predicts classes" if only_head else "")
        )
    loaded = tuple(name for name in wanted if name not in dropped)
    checkpoint.assign({name: parameters[name] for name in loaded}, arrays)
    return Started(loaded, tuple(name for name in parameters if name not in set(loaded)))


def _check_categories(there: tuple[str, ...], here: tuple[str, ...], path: Path) -> None:
    """Raise CheckpointError unless the names are the same in the same order."""
    if there != here:
        pairs = enumerate(zip_longest(there, here))
        same = next(number for number, (a, b) in pairs if a != b)
        raise CheckpointError(
            f"the classes are, from number {same + 1} on, those of {path}, "
            f"{_shortened(there[same:])}, got {_shortened(here[same:])}; --drop-head predicts "
            "them anew"
        )


def _shortened(names: tuple[str, ...]) -> str:
    listed = ", ".join(names[:SHOWN]) or "none"
    return f"{listed}, ..." if len(names) > SHOWN else listed


def freeze(backbone: ResNet, stages: int) -> None:
    """Exclude the stem and the first ``stages`` groups from training; 0 excludes nothing.

    Their parameters get no gradient and their batch norm uses its running statistics, as
    in mmdetection's ``frozen_stages`` (models/backbones/resnet.py), whose 0 is the stem.
    """
    if not stages:
        return
    for part in (backbone.stem, *list(backbone.groups)[:stages]):
        for parameter in part.get_parameters():
            parameter.requires_grad = False
        for _, cell in part.cells_and_names():
            if isinstance(cell, nn.BatchNorm2d):
                cell.use_batch_statistics = False


def _part(name: str) -> str:
    return name.split(".")[0]


def _counts(names: tuple[str, ...]) -> str:
    """Return how many parameters of each part there are, those of the predictions apart."""
    counts = Counter("predictions" if PREDICTIONS.fullmatch(n) else _part(n) for n in names)
    return ", ".join(f"{count} of {part}" for part, count in counts.items()) or "none"
