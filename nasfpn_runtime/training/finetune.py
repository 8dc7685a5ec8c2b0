"""Fine-tuning: start a run from the weights of a checkpoint, and freeze parts of the backbone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from mindspore import Parameter, nn

from nasfpn_runtime.errors import CheckpointError, InitError
from nasfpn_runtime.files import digest_of
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.network.resnet import ResNet
from search_space.genome import Genome

PARTS = ("backbone", "pyramid", "head")
# Parameters of the last layers, which are shared by all levels or have a copy for each.
CLASSES = re.compile(r"head\.classes\.([0-9]+\.)?predict\..*")
PREDICTIONS = re.compile(r"head\.(classes|boxes)\.([0-9]+\.)?predict\..*")
# Parameters of the merging cells. The pyramid's others, its laterals and coarser levels, follow
# from the levels and the sizes; those of the head follow from the levels, too.
CELLS = "pyramid.stacks."
MISSING = "a missing file"
SHOWN = 3  # names listed in a message


@dataclass(frozen=True)
class Init:
    """Initial weights of a run.

    Attributes:
        path: a checkpoint written by this program.
        drop_head: do not load the layers that predict classes.
        drop_cells: do not load the merging cells of the pyramid. The checkpoint may then be of
            another genome with the same levels, and of another number of stacks.
    """

    path: Path
    drop_head: bool = False
    drop_cells: bool = False

    def digest(self) -> str:
        """Return a digest of what is loaded, or :data:`MISSING` if there is no such file."""
        if not self.path.is_file():
            return MISSING
        without = [" without head"] * self.drop_head + [" without cells"] * self.drop_cells
        return digest_of(self.path) + "".join(without)


@dataclass(frozen=True)
class InitReport:
    """Names of the parameters that were loaded, and of those that kept their initial values."""

    loaded: tuple[str, ...]
    kept: tuple[str, ...]

    def __str__(self) -> str:
        """Return two lines: how many parameters of each part were loaded, and how many not."""
        return (
            f"loaded          {_count_by_part(self.loaded)}\n"
            f"initial values  {_count_by_part(self.kept)}"
        )


def start_from(
    net: Network, genome: Genome, init: Init, categories: Sequence[str] | None = None
) -> InitReport:
    """Load the weights of a checkpoint into a detector, before training.

    A part (backbone, pyramid, head) that the file lacks altogether keeps its initial values.
    Any other part must match in every name and shape. With ``drop_head`` the layers that predict
    classes keep their initial values, and so do those that predict boxes if they do not match.
    With ``drop_cells`` the merging cells keep their initial values.

    Args:
        genome: genome of the detector.
        categories: category names of the detector, by class index; None to check only their
            number.

    Raises:
        InitError: the file is not a complete checkpoint or does not match, or its head is for
            other categories, or for the same in another order, and is not dropped. No parameter
            is changed then.
    """
    try:
        arrays, origin = checkpoint.load_weights(init.path)
    except CheckpointError as error:
        raise InitError(str(error)) from None
    parts = {name.split(".")[0] for name in arrays} & set(PARTS)
    if "pyramid" in parts:
        _check_genome(origin.genome, genome, init)
    if init.drop_cells:
        arrays = {name: array for name, array in arrays.items() if not name.startswith(CELLS)}
    if "head" in parts and categories is not None and not init.drop_head:
        _check_categories(origin.categories, tuple(categories), init.path)
    stored = {name: array.shape for name, array in arrays.items() if _part(name) in parts}
    parameters: dict[str, Parameter] = {p.name: p for p in net.get_parameters()}
    wanted = {
        name: tuple(p.shape)
        for name, p in parameters.items()
        if _part(name) in parts and not (init.drop_cells and name.startswith(CELLS))
    }
    differ = {name for name in stored.keys() | wanted if stored.get(name) != wanted.get(name)}
    dropped = {name for name in wanted if CLASSES.fullmatch(name)} if init.drop_head else set()
    dropped |= {name for name in differ if init.drop_head and PREDICTIONS.fullmatch(name)}
    if wrong := sorted(differ - dropped):
        only_head = all(PREDICTIONS.fullmatch(name) for name in wrong)
        raise InitError(
            f"cannot start from {init.path}: {len(wrong)} of the parameters do not match those of "
            f"the network in name and shape: {shortened(wrong)}"
            + ("; --drop-head does not load what predicts classes" if only_head else "")
        )
    loaded = tuple(name for name in wanted if name not in dropped)
    checkpoint.assign({name: parameters[name] for name in loaded}, arrays)
    return InitReport(loaded, tuple(name for name in parameters if name not in set(loaded)))


def _check_genome(stored: Genome, wanted: Genome, init: Init) -> None:
    """Raise InitError unless a checkpoint's pyramid can be loaded into that of a genome."""
    if stored.levels != wanted.levels:
        there, here = (", ".join(map(str, genome.levels)) for genome in (stored, wanted))
        raise InitError(f"the levels must be those of {init.path}, which has {there}, got {here}")
    if stored != wanted and not init.drop_cells:
        raise InitError(
            f"cannot start from {init.path}: its pyramid has another genome than this run; "
            "--drop-cells loads all but the merging cells"
        )


def _check_categories(stored: tuple[str, ...], wanted: tuple[str, ...], path: Path) -> None:
    """Raise InitError unless the names are the same in the same order."""
    if stored != wanted:
        pairs = enumerate(zip_longest(stored, wanted))
        first = next(index for index, (a, b) in pairs if a != b)
        raise InitError(
            f"the categories must be those of {path}, which has {shortened(stored[first:])} from "
            f"number {first + 1} on, got {shortened(wanted[first:])}; --drop-head does not load "
            "what predicts classes"
        )


def shortened(names: Sequence[str]) -> str:
    """Return the first names as text."""
    listed = ", ".join(names[:SHOWN]) or "none"
    return f"{listed}, ..." if len(names) > SHOWN else listed


def freeze(backbone: ResNet, stages: int) -> None:
    """Freeze the stem and the first ``stages`` groups of a backbone; 0 freezes nothing.

    Frozen parameters get no gradient, and frozen batch norm uses its running statistics, as in
    mmdetection's ``frozen_stages`` (models/backbones/resnet.py), whose 0 is the stem.
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
    """Return the part of the network that a parameter belongs to."""
    return name.split(".")[0]


def _count_by_part(names: tuple[str, ...]) -> str:
    """Return how many parameters each part has as text; predictions count as a part."""
    counts = Counter("predictions" if PREDICTIONS.fullmatch(n) else _part(n) for n in names)
    return ", ".join(f"{count} of {part}" for part, count in counts.items()) or "none"
