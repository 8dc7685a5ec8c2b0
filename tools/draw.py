"""``nasfpn draw``: draw genomes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tools.genomes import load_named, path_name
from tools.options import DeprecatedName, add_flag, add_out, add_overwrite, shown_path

if TYPE_CHECKING:
    from search_space.genome import Genome

HELP = "Draw a genome, the difference of two, or all shipped ones"
DESCRIPTION = """\
Draw the cell graph of a genome, the difference of two genomes, or a gallery of
all shipped ones."""
EXAMPLES = (
    "nasfpn draw nasfpn",
    "nasfpn draw fpn nasfpn -o difference.png",
    "nasfpn draw --all -o gallery.svg",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "genomes",
        nargs="*",
        metavar="GENOME",
        help="one or two: a shipped name (see `nasfpn archs`) or a JSON file",
    )
    add_flag(parser, "--all", help="draw a gallery of the shipped genomes")
    add_out(
        parser,
        "FILE",
        "file to write: .svg, .png or .pdf",
        type=Path,
        unset="an .svg file named after the genomes",
    )
    add_overwrite(parser)
    parser.add_argument(
        "--output", dest="out", type=Path, action=DeprecatedName, instead="-o or --out"
    )


def run(args: argparse.Namespace) -> int:
    """Write the picture and print its path."""
    if args.all == bool(args.genomes) or len(args.genomes) > 2:
        given = " ".join([*args.genomes, *(["--all"] if args.all else [])]) or "nothing"
        raise UsageError(f"draw takes one genome, two genomes or --all, got {given}")
    from nasfpn_runtime.progress import say

    say(f"draw: {'the shipped genomes' if args.all else ' and '.join(args.genomes)}")

    import searched_archs
    from nasfpn_runtime.outputs import Inputs, output_file
    from search_space.drawing.pictures import check_suffix

    known = searched_archs.names()
    named = [load_named(text) for text in (known if args.all else args.genomes)]
    path = args.out or Path(f"{'gallery' if args.all else default_name(named)}.svg")
    check_suffix(path)
    inputs = Inputs(*(Path(text) for text in args.genomes if text not in known))
    with output_file(path, overwrite=args.overwrite, inputs=inputs) as draft:
        _draw(named, draft, gallery=args.all)
    print(shown_path(path))
    return 0


def default_name(named: Sequence[tuple[str, Genome]]) -> str:
    """Return the name of the picture of one or two genomes, without suffix."""
    return "-vs-".join(path_name(name) for name, _ in named)


def _draw(named: Sequence[tuple[str, Genome]], path: Path, *, gallery: bool) -> None:
    from search_space.drawing.pictures import draw_difference, draw_gallery, draw_genome

    if gallery:
        draw_gallery(dict(named), path)
    elif len(named) == 1:
        ((name, genome),) = named
        draw_genome(genome, path, title=name)
    else:
        (name_a, a), (name_b, b) = named
        draw_difference(a, b, path, names=(name_a, name_b))
