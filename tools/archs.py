"""``nasfpn archs``: list the shipped genomes."""

from __future__ import annotations

import argparse

from tools.options import add_recipe

HELP = "List the shipped genomes with cost, published AP and source"
DESCRIPTION = f"{HELP}.\nGENOME in other commands is one of these names, or a JSON file."
EXAMPLES = (
    "nasfpn archs",
    "nasfpn archs --recipe bccd-256",
    "nasfpn archs --recipe mmdet-r50-7x256-640",
)
RECIPE = "tf-r50-7x256-640"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_recipe(parser, of="the detector whose sizes are listed", default=RECIPE)


def run(args: argparse.Namespace) -> int:
    """Print a table; parameters and MACs are those of the recipe's detector."""
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
        f"\nParameters and MACs (multiply-adds) of a RetinaNet with {shape.backbone}, "
        f"{shape.stacks} stacks of\n{shape.channels} channels, {height}x{width} px and "
        f"{shape.classes} classes. AP is the figure that the source published;\n"
        "searched_archs/README.md says for which detector and dataset."
    )
    return 0
