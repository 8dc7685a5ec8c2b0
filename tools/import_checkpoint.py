"""``nasfpn import``: convert a checkpoint of another implementation."""

from __future__ import annotations

import argparse
import glob
from pathlib import Path

from tools.errors import UsageError
from tools.genomes import load_named
from tools.options import (
    add_flag,
    add_option,
    add_out,
    add_overrides,
    add_overwrite,
    add_recipe,
    shown_path,
)

HELP = "Convert a checkpoint of another implementation"
DESCRIPTION = """\
Convert a checkpoint of mmdetection, TensorFlow or the MindSpore model zoo into
one that the other commands read. The sources torchvision and mindcv are
backbones, whose weights can start a training: `nasfpn train --init`."""
EXAMPLES = (
    "nasfpn import retinanet_r50_nasfpn_crop640_50e_coco.pth --source mmdet -o mmdet.ckpt",
    "nasfpn import retinanet_nasfpn-300_916.ckpt --source modelzoo -o zoo.ckpt",
    "nasfpn import resnet50.pth --source torchvision --recipe mmdet-r50-7x256-640 -o r50.ckpt",
)
SOURCES = ("mmdet", "modelzoo", "tf", "torchvision", "mindcv")
ARCH = "nasfpn"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    help = "file to convert: .pth, .safetensors, .npz, .ckpt or the prefix of a TensorFlow one"
    parser.add_argument("src", type=Path, metavar="SRC", help=help)
    help = "implementation that wrote the file"
    parser.add_argument("--source", required=True, choices=SOURCES, help=help)
    add_out(parser, "CKPT", ".ckpt file to write", type=Path, required=True)
    add_overwrite(parser)
    unset = "the source's; required for a backbone"
    add_recipe(parser, of="the detector", unset=unset)
    help = "genome of the detector: a shipped name or a JSON file"
    add_option(parser, "--arch", default=ARCH, metavar="GENOME", help=help)
    help = "file with the names of the categories, one on each line"
    add_option(parser, "--categories", type=Path, metavar="FILE", unset="COCO's", help=help)
    add_flag(parser, "--partial", help="load what fits; initialise the rest randomly")
    add_overrides(parser, "model.stacks=5")


def run(args: argparse.Namespace) -> int:
    """Convert, then print which entries were mapped, ignored and missing."""
    from nasfpn_runtime.importers.spellings import SOURCES as TABLES
    from nasfpn_runtime.recipe.recipe import load_recipe

    recipe = args.recipe or TABLES[args.source].recipe
    if recipe is None:
        raise UsageError(f"--source {args.source} is a backbone and needs the detector's --recipe")
    if args.out.suffix != ".ckpt":  # MindSpore would append it
        raise UsageError(f"--out must end in .ckpt, got {args.out}")
    from nasfpn_runtime.outputs import Inputs, check_output, output_file

    # The source may be the prefix of several files.
    files = [args.src, *args.src.parent.glob(f"{glob.escape(args.src.name)}.*")]
    files += [path for path in (args.categories, Path(recipe), Path(args.arch)) if path]
    inputs = Inputs(*files)
    check_output(args.out, overwrite=args.overwrite, inputs=inputs)
    categories = _read_names(args.categories) if args.categories else None
    settings = load_recipe(recipe, args.overrides)
    name, genome = load_named(args.arch)

    from nasfpn_runtime.progress import say, waiting

    say(f"import: {args.src} from {args.source} as {name} by {settings.name}, to {args.out}")

    from nasfpn_runtime.importers.convert import convert, listed

    with (
        output_file(args.out, overwrite=args.overwrite, inputs=inputs) as draft,
        waiting("converting the weights"),
    ):
        loaded = convert(
            args.src,
            args.source,
            draft,
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
    print(f"checkpoint  {shown_path(args.out)}")
    return 0


def _read_names(path: Path) -> tuple[str, ...]:
    """Return the lines of a file of category names."""
    try:
        names = tuple(
            line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
        )
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read --categories {path}: {reason}") from None
    if not names or len(set(names)) != len(names):
        raise UsageError(
            f"--categories must be different names, one on each line, got {len(names)} lines with "
            f"{len(set(names))} names (at {path})"
        )
    return names
