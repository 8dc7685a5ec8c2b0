"""Recipes of small networks, one for each kind of module, and a genome for them."""

from __future__ import annotations

from nasfpn_runtime.recipe.recipe import Recipe, load_recipe
from search_space import Genome, MergingCell

GENOME = Genome(tuple(MergingCell(level, "sum", (0, 1, 2)) for level in (3, 4, 5)), (3, 4, 5))
SMALL = ["model.backbone=resnet10", "model.width=4", "model.channels=8", "model.stacks=2"]
LITE = ["model.backbone=mobilenetv2", "model.width=8", "model.separable=true"]
# 16 channels, as many as level 3 has: it needs no lateral.
BOTTLENECK = ["model.backbone=resnet50", "model.channels=16"]


def small_recipe(name: str = "tf-r50-7x256-640", *overrides: str) -> Recipe:
    """Return a recipe with a small network and an input of 64 x 96."""
    return load_recipe(name, [*SMALL, "model.head_convs=1", "data.image=[64, 96]", *overrides])


KINDS = {
    "tf": small_recipe(),
    "mmdet": small_recipe("mmdet-r50-7x256-640"),
    "modelzoo": small_recipe("modelzoo-r50-7x256-640"),
    "lite": small_recipe("tf-r50-7x256-640", *LITE),
    "lite-zoo": small_recipe("modelzoo-r50-7x256-640", *LITE),
    "bottleneck": small_recipe("tf-r50-7x256-640", *BOTTLENECK, "box_code.clip=both"),
}
