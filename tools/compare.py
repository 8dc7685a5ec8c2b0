"""``nasfpn compare``: search with several controllers, retrain the winners, make a table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tools.genomes import load_named
from tools.options import add_data, add_option, add_out, add_recipe, seed

if TYPE_CHECKING:
    from nasfpn_runtime.recipe.recipe import Recipe
    from search_space.genome import Genome

HELP = "Compare controllers and known genomes in one table"
DESCRIPTION = """\
Search with several controllers, retrain the winners and known genomes with
several seeds, and write one table of their scores and costs. Run the same
command to resume."""
EXAMPLES = (
    "nasfpn compare --data shapes --proxy shapes-proxy --recipe shapes --trials 4 -o runs/compare",
    "nasfpn compare --data shapes --controllers --archs fpn nasfpn --recipe shapes -o runs/archs",
    "nasfpn compare --data shapes --controllers evolution tpe --trials 20 -o runs/controllers",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_data(parser, "; with a test split")
    add_out(parser, "DIR", "run folder", type=Path, required=True)
    help = "controllers of the searches; none: no search"
    default = ["ppo", "random"]
    add_option(parser, "--controllers", nargs="*", default=default, metavar="NAME", help=help)
    help = "number of genomes that each search trains"
    add_option(parser, "--trials", type=int, default=40, metavar="N", help=help)
    add_recipe(parser, "--proxy", of="the short trainings of the searches", default="bccd-proxy")
    help = "genomes to train besides the winners: shipped names or JSON files"
    default = ["nasfpn", "fpn", "panet", "bifpn"]
    add_option(parser, "--archs", nargs="*", default=default, metavar="GENOME", help=help)
    add_recipe(parser, of="the retraining", default="bccd-128")
    help, seeds = "random seeds of the retraining", [0, 1, 2]
    add_option(parser, "--seeds", nargs="+", type=seed, default=seeds, metavar="N", help=help)


def run(args: argparse.Namespace) -> int:
    """Do what is missing in the run folder, then write the table there and print it."""
    from nasfpn_runtime.progress import say

    if not args.controllers and not args.archs:
        raise UsageError("compare needs a controller or a genome: give --controllers or --archs")
    say(
        f"compare: {len(args.controllers)} searches of {args.trials} trials, then "
        f"{len(args.controllers) + len(args.archs)} genomes with {len(args.seeds)} seeds on "
        f"{args.data}"
    )

    from controllers.figures import compare_searches
    from nasfpn_runtime.data.dataset import load_split
    from nasfpn_runtime.files import atomic_write
    from nasfpn_runtime.recipe.recipe import load_recipe
    from tools.search import run_search

    recipe = load_recipe(args.recipe)
    out: Path = args.out
    genomes = dict(load_named(name) for name in args.archs)
    searches = {}
    for controller in args.controllers:
        folder = out / f"search-{controller}"
        study = run_search(
            args.data, folder, recipe=args.proxy, controller=controller, trials=args.trials
        )
        searches[controller] = study.get_trials(deepcopy=False)
        genomes[f"{controller} winner"] = load_named(str(folder / "best.json"))[1]
    if searches:
        compare_searches(searches, out / "searches.svg")
    scores = {
        name: [_score(genome, recipe, args.data, out / _slug(name), seed) for seed in args.seeds]
        for name, genome in genomes.items()
    }
    categories = len(load_split(args.data, "train").categories)
    table = _table(genomes, scores, recipe, categories)
    with atomic_write(out / "table.md") as draft:
        draft.write_text(table)
    print(f"\n{table}\n{out / 'table.md'}")
    if searches:
        print(out / "searches.svg")
    return 0


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def _score(genome: Genome, recipe: Recipe, data: Path, out: Path, seed: int) -> tuple[float, float]:
    """Return the AP on val and test after the last epoch; read ``scores.json`` if it exists."""
    from nasfpn_runtime.files import atomic_write
    from nasfpn_runtime.progress import say
    from nasfpn_runtime.scoring.evaluate import score_checkpoint
    from nasfpn_runtime.training.train import train

    folder = out / f"seed{seed}"
    file = folder / "scores.json"
    if not file.exists():
        say(f"compare: training {folder}")
        result = train(recipe, genome, data, folder, seed=seed)
        test = score_checkpoint(result.last, data, "test")
        with atomic_write(file) as draft:
            draft.write_text(json.dumps({"val": result.metrics["AP"], "test": test["AP"]}))
    scores = json.loads(file.read_text())
    return scores["val"], scores["test"]


def _table(
    genomes: dict[str, Genome],
    scores: dict[str, list[tuple[float, float]]],
    recipe: Recipe,
    categories: int,
) -> str:
    """Return a Markdown table, sorted by mean val AP, highest first."""
    from search_space import detector_cost

    columns = ["pyramid", *(f"{s} AP {v}" for s in ("val", "test") for v in ("mean", "range"))]
    columns += ["MACs", "parameters"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name in sorted(scores, key=lambda name: -_mean(scores[name], 0)):
        genome = genomes[name]
        cost = detector_cost(genome, recipe.shape(categories, genome.levels))
        cells = [name]
        for column in (0, 1):
            values = [pair[column] for pair in scores[name]]
            cells += [f"{_mean(scores[name], column):.3f}", f"{min(values):.3f}-{max(values):.3f}"]
        cells += [f"{cost.macs / 1e6:.1f} M", f"{cost.parameters / 1e6:.2f} M"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean(pairs: list[tuple[float, float]], column: int) -> float:
    return sum(pair[column] for pair in pairs) / len(pairs)
