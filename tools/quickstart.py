"""``nasfpn quickstart``: search, train, score and draw on generated images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tools.genomes import run_folder
from tools.options import TRIALS, add_option, add_out, add_seed, shown_path

if TYPE_CHECKING:
    from search_space.genome import Genome

HELP = "Search, train and draw on generated images, in under 10 minutes"
DESCRIPTION = """Generate images of shapes, search for a genome on them, train the best one and
the published one, score both and draw them. Needs no data and no accelerator;
takes less than 10 minutes on two cores. Run the same command to resume."""
EXAMPLES = (
    "nasfpn quickstart",
    "nasfpn quickstart --trials 4 -o runs/short",
    "nasfpn quickstart --controller random --seed 1 -o runs/random",
)
PROXY, RECIPE = "shapes-proxy", "shapes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_out(parser, "DIR", "run folder", type=Path, default=Path("runs/quickstart"))
    add_option(parser, "--controller", default="evolution", help="controller of the search")
    help = "number of genomes that the search trains"
    add_option(parser, "--trials", type=TRIALS, default=12, metavar="N", help=help)
    add_seed(parser, of="data, search and trainings")


def run(args: argparse.Namespace) -> int:
    """Generate data, search, train the best and the published genome, draw, and print where."""
    from nasfpn_runtime.progress import say

    out: Path = args.out
    say(f"quickstart: run folder {out}")

    from nasfpn_runtime.data.drawn import is_drawn, write_shapes
    from nasfpn_runtime.outputs import check_run_folder
    from nasfpn_runtime.recipe.recipe import load_recipe
    from search_space import load_genome
    from search_space.drawing.pictures import draw_difference
    from tools.search import run_search

    check_run_folder(out, ("search/study.lock",), ("difference.svg",))
    data = out / "data"
    if not data.exists():
        say("1/4 generating a dataset of shapes")
        out.mkdir(parents=True, exist_ok=True)
        write_shapes(data, seed=args.seed)
    elif not is_drawn(data, args.seed):
        raise UsageError(
            f"the dataset must be drawn with --seed {args.seed}, got one of another seed (at "
            f"{data}); choose another --out, or the seed that it was drawn with"
        )
    say(f"2/4 searching over {args.trials} genomes")
    run_search(
        data,
        out / "search",
        recipe=load_recipe(PROXY),
        controller=args.controller,
        trials=args.trials,
        seed=args.seed,
    )
    best = load_genome(out / "search" / "best.json")
    published = _published()
    say("3/4 training the best genome and the published one")
    folder = run_folder(out / "best", best)  # with more trials, another genome may be the best
    table = {
        name: _train(genome, data, folder, args.seed)
        for name, genome, folder in (
            ("best", best, folder),
            ("nasfpn", published, out / "nasfpn"),
        )
    }
    say("4/4 drawing")
    difference = out / "difference.svg"
    draw_difference(published, best, difference, names=("published", "best of the search"))
    print(f"\n{'genome':22} {'val AP':>7} {'val AP50':>9}")
    for name, (ap, ap50) in table.items():
        print(f"{name:22} {ap:7.3f} {ap50:9.3f}")
    for what, path in (
        ("data", data),
        ("study", out / "search" / "study.journal"),
        ("best genome", out / "search" / "best.json"),
        ("its drawing", out / "search" / "figures" / "best.svg"),
        ("difference", difference),
        ("search figure", out / "search" / "figures" / "search.svg"),
        ("checkpoints", folder / "checkpoints"),
    ):
        print(f"{what:22} {shown_path(path)}")
    return 0


def _published() -> Genome:
    import searched_archs

    return searched_archs.load("nasfpn")


def _train(genome: Genome, data: Path, out: Path, seed: int) -> tuple[float, float]:
    from nasfpn_runtime.progress import say
    from nasfpn_runtime.recipe.recipe import load_recipe
    from nasfpn_runtime.training.train import train

    say(f"training {out}")
    metrics = train(load_recipe(RECIPE), genome, data, out, seed=seed).metrics
    return metrics["AP"], metrics["AP50"]
