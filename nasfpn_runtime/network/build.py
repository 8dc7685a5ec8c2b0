"""Build networks from a recipe or a dialect. All weights are zero until initialised or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import searched_archs
from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.network.pyramid import Pyramid
from nasfpn_runtime.recipe.dialects import DIALECTS
from nasfpn_runtime.recipe.memory import check_memory
from nasfpn_runtime.recipe.recipe import Recipe, load_recipe
from search_space.cost.cost import detector_cost
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
    """Return the network of a recipe: images (N, 3, H, W) float32 to (logits, deltas).

    Class logits are (N, A, classes), before the sigmoid. Box deltas are (N, A, 4), before
    decoding. Anchors and box code are the recipe's (``recipe.anchor_boxes``, ``recipe.box_code``).

    Args:
        recipe: a recipe, the name of a shipped one, or the path of a YAML file.
        genome: the pyramid; None for the published cell.
        categories: number of object categories; None for the recipe's ``model.categories``.
        stacks: cut the network after this many stacks. The parameters of the cut network are a
            subset of the full network's, with the same names, so that ``checkpoint.restore`` can
            load a checkpoint of the full network. They are useful if that was trained
            ``supervised``.
        supervised, drop_block: see ``Network``.

    Raises:
        RecipeError: there is no such recipe, it has fewer stacks, or the weights do not fit in
            the memory of this machine.
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
                f"stacks must be from 1 to {shape.stacks}, the model.stacks of {recipe.name}, "
                f"got {stacks}"
            )
        shape = replace(shape, stacks=stacks)
    size = 4 * detector_cost(genome, shape).parameters
    check_memory(size, "the weights of the network", "lower the sizes of the model")
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
    """Return a pyramid without backbone and head: backbone maps, finest first, to pyramid maps.

    For example, with ``in_channels={3: 512, 4: 1024, 5: 2048}``, ``net(c3, c4, c5)`` returns
    ``(p3, ..., p7)``, each (N, channels, H / 2**l, W / 2**l) float32.

    Args:
        dialect: a key of ``dialects.DIALECTS``.
        in_channels: channels of the backbone's map at each level that it supplies.

    Raises:
        ValueError: there is no such dialect, or the levels that the backbone supplies are not the
            finest of the genome.
    """
    if dialect not in DIALECTS:
        raise ValueError(f"dialect must be one of {', '.join(DIALECTS)}, got {dialect!r}")
    return Pyramid(genome, in_channels, channels, stacks, DIALECTS[dialect])
