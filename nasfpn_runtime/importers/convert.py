"""Convert the checkpoint file of another implementation to a checkpoint of ours."""

from __future__ import annotations

from pathlib import Path

import searched_archs
from nasfpn_runtime.data import coco_names
from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.importers.load import LoadResult, load_state
from nasfpn_runtime.importers.readers import read_arrays
from nasfpn_runtime.importers.spellings import SOURCES
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.build import build_network
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.network.init import initialise
from nasfpn_runtime.recipe.recipe import Recipe
from search_space.genome import Genome
from search_space.names import shown

SHOWN = 5  # names in a message


def convert(
    path: Path,
    source: str,
    out: Path,
    recipe: Recipe,
    genome: Genome,
    *,
    categories: tuple[str, ...] | None = None,
    partial: bool = False,
) -> LoadResult:
    """Read a file of another implementation and write a checkpoint of ours.

    From a source that has only backbones, the checkpoint has only the backbone. A training
    run can start from it.

    Args:
        path: see ``readers.read_arrays``.
        source: a key of ``SOURCES``.
        out: the checkpoint to write.
        recipe: of the network to fill.
        genome: of the network to fill.
        categories: names of the classes, in order of their numbers; None for COCO's.
        partial: take the arrays whose names fit; the rest of the network keeps its initial
            weights, and arrays that the network has no parameter for are accepted.

    Raises:
        CheckpointError: the file is not a checkpoint of this source, does not fit the
            network, or, without ``partial``, has arrays that the network has no parameter
            for.
    """
    backbone_only = SOURCES[source].backbone_only
    if SOURCES[source].published_only and genome != searched_archs.load("nasfpn"):
        raise CheckpointError(
            f"a checkpoint of {source} must have the genome nasfpn, got another genome"
        )
    if categories is None:
        categories = coco_names.by_id() if source == "tf" else coco_names.by_order()
    if backbone_only:
        categories = ()
    arrays = read_arrays(path)
    net = build_network(recipe, genome, len(categories) or 1)
    initialise(net, 0, recipe.model.resolved_dialect().init)
    result = load_state(net, arrays, source, partial=partial)
    if result.unexpected and not partial:
        raise CheckpointError(
            f"cannot import {path}: the network of {recipe.name} has no parameters for "
            f"{len(result.unexpected)} of its entries: {listed(result.unexpected)}"
        )
    kept = net.backbone if backbone_only else net
    checkpoint.save(out, kept, Origin(recipe, genome, categories, seed=0, epoch=0))
    return result


def listed(names: tuple[str, ...]) -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(map(shown, names[:SHOWN])) + (f" and {more} more" if more > 0 else "")
