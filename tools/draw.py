"""``nasfpn draw``: draw genomes."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.errors import UsageError
from tools.genomes import load_named
from tools.options import DeprecatedName, add_flag, add_out

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
    try:
        path = _draw_all(args.out) if args.all else _draw(args.genomes, args.out)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from None
    print(path)
    return 0


def _draw(genomes: list[str], out: Path | None) -> Path:
    from search_space.drawing.pictures import draw_difference, draw_genome

    named = [load_named(text) for text in genomes]
    path = out or Path("-vs-".join(name for name, _ in named) + ".svg")
    if len(named) == 1:
        ((name, genome),) = named
        draw_genome(genome, path, title=name)
    else:
        (name_a, a), (name_b, b) = named
        draw_difference(a, b, path, names=(name_a, name_b))
    return path


def _draw_all(out: Path | None) -> Path:
    import searched_archs
    from search_space.drawing.pictures import draw_gallery

    path = out or Path("gallery.svg")
    draw_gallery({name: searched_archs.load(name) for name in searched_archs.names()}, path)
    return path
