"""``nasfpn archs``: the shipped genomes."""

from __future__ import annotations

import argparse

HELP = "list the shipped genomes with source, parameters, MACs and published AP"
RECIPE = "tf-r50-7x256-640"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    help = f"sizes are those of this recipe's detector (default: {RECIPE})"
    parser.add_argument("--recipe", default=RECIPE, help=help)


def run(args: argparse.Namespace) -> int:
    """Print the table; sizes are those of the recipe's detector."""
    import searched_archs
    from nasfpn_runtime.recipe.recipe import load_recipe
    from search_space import detector_cost

    recipe = load_recipe(args.recipe)
    print(f"{'name':16} {'cells':>5} {'params':>8} {'MACs':>8} {'AP':>5}  source")
    for name in searched_archs.names():
        genome, info = searched_archs.load(name), searched_archs.info(name)
        shape = recipe.shape(recipe.model.categories, genome.levels)
        cost = detector_cost(genome, shape)
        ap = "-" if info.published_ap is None else f"{info.published_ap:.1f}"
        print(
            f"{name:16} {len(genome.cells):5d} {cost.parameters / 1e6:6.1f} M "
            f"{cost.macs / 1e9:6.1f} G {ap:>5}  {info.source}"
        )
    height, width = shape.image
    print(
        f"\nParameters and multiply-adds of a RetinaNet with {shape.backbone}, {shape.stacks} "
        f"stacks of {shape.channels} channels,\n{height}x{width}, {shape.classes} classes. "
        f"AP as published by the source; searched_archs/README.md says on what."
    )
    return 0
