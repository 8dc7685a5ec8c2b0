"""From a public checkpoint's file to a checkpoint of ours."""

from __future__ import annotations

from pathlib import Path

import searched_archs
from nasfpn_runtime.data import coco_names
from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.importers.load import Loaded, load_state
from nasfpn_runtime.importers.readers import read_arrays
from nasfpn_runtime.importers.spellings import SOURCES
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.build import build_network
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.network.init import initialise
from nasfpn_runtime.recipe.recipe import Recipe
from search_space.genome import Genome

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
) -> Loaded:
    """Read a file of another implementation and write a checkpoint of ours.

    A source that knows backbones alone gives a checkpoint of the backbone alone, which a
    training run can start from.

    Args:
        source: a key of ``SOURCES``.
        categories: in the order of the class numbers; those of COCO if None.
        partial: take what fits by name; the rest of the network has initial weights.

    Raises:
        CheckpointError: the file is none of its kind, or does not fit the network; without
            ``partial`` also if it holds weights that the network has no place for.
    """
    backbone_only = SOURCES[source].backbone_only
    if SOURCES[source].published_only and genome != searched_archs.load("nasfpn"):
        raise CheckpointError(f"a checkpoint of {source} is of the genome nasfpn, got another one")
    if categories is None:
        categories = coco_names.by_id() if source == "tf" else coco_names.by_order()
    if backbone_only:
        categories = ()
    arrays = read_arrays(path)
    net = build_network(recipe, genome, len(categories) or 1)
    initialise(net, 0, recipe.model.resolved_dialect().init)
    loaded = load_state(net, arrays, source, partial=partial)
    if loaded.unexpected and not partial:
        raise CheckpointError(
            f"{path} has {len(loaded.unexpected)} entries that the network of {recipe.name} has "
            f"no place for: {listed(loaded.unexpected)}"
        )
    kept = net.backbone if backbone_only else net
    checkpoint.save(out, kept, Origin(recipe, genome, categories, seed=0, epoch=0))
    return loaded


def listed(names: tuple[str, ...]) -> str:
    """Return the first few names and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
