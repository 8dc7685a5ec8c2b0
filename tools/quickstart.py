"""``nasfpn quickstart``: the whole road on drawn shapes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tools.options import seed

if TYPE_CHECKING:
    from search_space.genome import Genome

HELP = "search, train, score and draw on built-in data, in under 10 minutes on two cores"
PROXY, RECIPE = "shapes-proxy", "shapes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/quickstart"), metavar="DIR", help="run folder")
    add("--controller", default="evolution", help="of the search (default: evolution)")
    add("--trials", type=int, default=12, help="genomes to search over (default: 12)")
    add("--seed", type=seed, default=0)


def run(args: argparse.Namespace) -> int:
    """Draw data, search, retrain the best and the published genome, draw, and say where."""
    from nasfpn_runtime.data.drawn import write_shapes
    from search_space import load_genome
    from search_space.drawing.pictures import draw_difference
    from tools.search import run_search

    if args.trials < 1:
        raise UsageError(f"--trials is 1 or more, got {args.trials}")
    out: Path = args.out
    data = out / "data"
    if not data.exists():
        print("1/4  drawing a data set of shapes", flush=True)
        out.mkdir(parents=True, exist_ok=True)
        write_shapes(data, seed=args.seed)
    print(f"2/4  searching over {args.trials} genomes", flush=True)
    run_search(
        data,
        out / "search",
        recipe=PROXY,
        controller=args.controller,
        trials=args.trials,
        seed=args.seed,
    )
    best = load_genome(out / "search" / "best.json")
    published = _published()
    print("3/4  training the best genome and the published one", flush=True)
    table = {
        name: _train(genome, data, out / name, args.seed)
        for name, genome in (("best", best), ("nasfpn", published))
    }
    print("4/4  drawing", flush=True)
    difference = out / "difference.svg"
    draw_difference(published, best, difference, names=("published", "best of the search"))
    print(f"\n{'genome':22} {'val AP':>7} {'val AP50':>9}")
    for name, (ap, ap50) in table.items():
        print(f"{name:22} {ap:7.3f} {ap50:9.3f}")
    for what, path in (
        ("data", data),
        ("study", out / "search" / "study.journal"),
        ("best genome", out / "search" / "best.json"),
        ("its picture", out / "search" / "figures" / "best.svg"),
        ("against published", difference),
        ("search", out / "search" / "figures" / "search.svg"),
        ("checkpoints", out / "best" / "checkpoints"),
    ):
        print(f"{what:22} {path}")
    return 0


def _published() -> Genome:
    import searched_archs

    return searched_archs.load("nasfpn")


def _train(genome: Genome, data: Path, out: Path, seed: int) -> tuple[float, float]:
    from nasfpn_runtime.recipe.recipe import load_recipe
    from nasfpn_runtime.training.train import train

    metrics = train(load_recipe(RECIPE), genome, data, out, seed=seed).metrics
    return metrics["AP"], metrics["AP50"]
