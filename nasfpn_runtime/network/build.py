"""Networks by recipe or dialect, weights zero until they are initialised or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import searched_archs
from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.network.pyramid import Pyramid
from nasfpn_runtime.recipe.dialects import DIALECTS
from nasfpn_runtime.recipe.recipe import Recipe, load_recipe
from search_space.genome import Genome


def build_network(
    recipe: Recipe | str,
    genome: Genome | None = None,
    categories: int | None = None,
    *,
    stacks: int | None = None,
    supervised: bool = False,
    drop_block: int | None = None,
) -> Network:
    """Return the detector of a recipe: images (N, 3, H, W) float32 to (logits, deltas).

    Class logits are (N, A, classes), before the sigmoid; box deltas (N, A, 4), before
    decoding; anchors and box code are the recipe's (``recipe.anchor_boxes``).

    Args:
        recipe: a recipe, the name of a shipped one or the path of a YAML file.
        genome: the pyramid; the published cell if None.
        categories: object categories; the recipe's ``model.categories`` if None.
        stacks: cut the network after so many stacks. Its parameters are some of the whole
            one's, by the same names, so that ``checkpoint.restore`` takes them from its
            checkpoint; they are of use where it was trained ``supervised``.
        supervised, drop_block: see ``Network``.

    Raises:
        RecipeError: there is no such recipe, or it has fewer stacks.
    """
    if isinstance(recipe, str):
        recipe = load_recipe(recipe)
    if genome is None:
        genome = searched_archs.load("nasfpn")
    if categories is None:
        categories = recipe.model.categories
    shape = recipe.shape(categories, genome.levels)
    if stacks is not None:
        if not 1 <= stacks <= shape.stacks:
            raise RecipeError(
                f"a network is cut after 1 to {shape.stacks} stacks (model.stacks of "
                f"{recipe.name}), got {stacks}"
            )
        shape = replace(shape, stacks=stacks)
    dialect = recipe.model.resolved_dialect()
    return Network(genome, shape, dialect, supervised=supervised, drop_block=drop_block)


def build_pyramid(
    genome: Genome,
    *,
    dialect: str = "tf",
    in_channels: Mapping[int, int],
    channels: int = 256,
    stacks: int = 7,
) -> Pyramid:
    """Return a pyramid alone: maps of the backbone, finest first, to the tuple of its outputs.

    ``net(c3, c4, c5)`` gives ``(p3, ..., p7)`` for ``in_channels={3: 512, 4: 1024, 5: 2048}``,
    each (N, channels, H / 2**l, W / 2**l) float32.

    Args:
        dialect: a key of ``dialect.DIALECTS``.
        in_channels: channels of the backbone's map at each level it supplies.

    Raises:
        ValueError: there is no such dialect, or the backbone's levels are not the genome's
            finest.
    """
    if dialect not in DIALECTS:
        raise ValueError(f"a dialect is one of {', '.join(DIALECTS)}, got {dialect!r}")
    return Pyramid(genome, in_channels, channels, stacks, DIALECTS[dialect])
