"""``nasfpn import``: a checkpoint of another implementation becomes one of ours."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.errors import UsageError
from tools.genomes import load_named
from tools.options import add_overrides

HELP = "turn a checkpoint of mmdetection, TF, the model zoo, ... into one of ours"
SOURCES = ("mmdet", "modelzoo", "tf", "torchvision", "mindcv")
ARCH = "nasfpn"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("src", type=Path, metavar="SRC", help=".pth, .safetensors, .npz, .ckpt or TF prefix")
    add("--source", required=True, choices=SOURCES, help="whose names it has")
    add("-o", "--out", type=Path, required=True, metavar="CKPT", help="file to write")
    add("--recipe", help="name or YAML file (default: the source's; backbones have none)")
    add("--arch", default=ARCH, metavar="GENOME", help=f"name or JSON file (default: {ARCH})")
    add("--categories", type=Path, metavar="FILE", help="a name a line (default: COCO's)")
    add("--partial", action="store_true", help="take what fits; the rest has initial weights")
    add_overrides(parser, "model.stacks=5")


def run(args: argparse.Namespace) -> int:
    """Convert, then print what was mapped, ignored and missing."""
    from nasfpn_runtime.importers.spellings import SOURCES as TABLES
    from nasfpn_runtime.recipe.recipe import load_recipe

    recipe = args.recipe or TABLES[args.source].recipe
    if recipe is None:
        raise UsageError(f"--source {args.source} is a backbone: name the detector's --recipe")
    if args.out.suffix != ".ckpt":  # MindSpore would add it
        raise UsageError(f"a checkpoint of ours ends in .ckpt, got {args.out}")
    categories = _lines(args.categories) if args.categories else None
    settings = load_recipe(recipe, args.overrides)
    _, genome = load_named(args.arch)

    from nasfpn_runtime.importers.convert import convert, listed

    loaded = convert(
        args.src,
        args.source,
        args.out,
        settings,
        genome,
        categories=categories,
        partial=args.partial,
    )
    print(
        f"mapped      {len(loaded.mapped)} entries to {len(set(loaded.mapped.values()))} parameters"
    )
    for title, names in (
        ("ignored", loaded.ignored),
        ("unexpected", loaded.unexpected),
        ("missing", loaded.missing),
    ):
        print(f"{title:11} {len(names)}" + (f": {listed(names)}" if names else ""))
    print(f"checkpoint  {args.out}")
    return 0


def _lines(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the categories: {error}") from None
    if not names or len(set(names)) != len(names):
        raise UsageError(
            f"categories are different names, one a line, got {len(names)} (at {path})"
        )
    return names
