"""``nasfpn draw``: pictures of genomes."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.errors import UsageError
from tools.genomes import load_named

HELP = "draw a genome, the difference of two, or all shipped ones"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "genomes",
        nargs="*",
        metavar="GENOME",
        help="a shipped name (see `nasfpn archs`) or a JSON file; two are compared",
    )
    parser.add_argument("--all", action="store_true", help="a gallery of the shipped genomes")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="PNG, SVG or PDF by its suffix (default: an SVG named after the genomes)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the picture and print its path."""
    if args.all == bool(args.genomes) or len(args.genomes) > 2:
        given = " ".join([*args.genomes, *(["--all"] if args.all else [])]) or "nothing"
        raise UsageError(f"draw takes one genome, two genomes or --all, got {given}")
    try:
        path = _draw_all(args.output) if args.all else _draw(args.genomes, args.output)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from None
    print(path)
    return 0


def _draw(genomes: list[str], output: Path | None) -> Path:
    from search_space.drawing.pictures import draw_difference, draw_genome

    named = [load_named(text) for text in genomes]
    path = output or Path("-vs-".join(name for name, _ in named) + ".svg")
    if len(named) == 1:
        ((name, genome),) = named
        draw_genome(genome, path, title=name)
    else:
        (name_a, a), (name_b, b) = named
        draw_difference(a, b, path, names=(name_a, name_b))
    return path


def _draw_all(output: Path | None) -> Path:
    import searched_archs
    from search_space.drawing.pictures import draw_gallery

    path = output or Path("gallery.svg")
    draw_gallery({name: searched_archs.load(name) for name in searched_archs.names()}, path)
    return path
