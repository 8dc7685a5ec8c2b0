"""``nasfpn recipes``: list the shipped recipes, or print all settings of one."""

from __future__ import annotations

import argparse
import re

from tools.errors import UsageError
from tools.options import add_option, add_overrides

HELP = "List the recipes, or print every setting of one"
DESCRIPTION = """\
List the shipped recipes, or print every setting of one as YAML with comments.
Save what is printed as a .yaml file, change it, and give it to --recipe."""
EXAMPLES = (
    "nasfpn recipes",
    "nasfpn recipes bccd-256",
    "nasfpn recipes bccd-256 --set training.epochs=10 --set training.lr=0.01",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_option(
        parser,
        "recipe",
        nargs="?",
        metavar="RECIPE",
        unset="list all",
        help="recipe to print: a name or a YAML file",
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table of recipes or the settings of one."""
    from nasfpn_runtime.recipe.recipe import load_recipe, names

    if args.recipe is None:
        if args.overrides:
            raise UsageError("--set needs RECIPE, such as nasfpn recipes bccd-256 --set A.B=C")
        for name in names():
            print(f"{name:24} {headline(load_recipe(name).description)}")
        print("\n`nasfpn recipes NAME` prints every setting of one.")
        return 0
    from nasfpn_runtime.recipe.describe import described

    print(described(load_recipe(args.recipe, args.overrides)).rstrip("\n"))
    return 0


def headline(description: str) -> str:
    """Return the start of a description, up to its first colon or full stop."""
    return re.split(r"[.:](?:\s|$)", description, maxsplit=1)[0]
