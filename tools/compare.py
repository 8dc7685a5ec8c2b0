"""``nasfpn compare``: search with several controllers, retrain the winners, make the table."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tools.genomes import load_named
from tools.options import seed

if TYPE_CHECKING:
    from nasfpn_runtime.recipe.recipe import Recipe
    from search_space.genome import Genome

HELP = "search with several controllers, retrain winners and known pyramids, make one table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="data set with a test split")
    add("--out", type=Path, required=True, metavar="DIR", help="run folder; again: goes on")
    add("--controllers", nargs="*", default=["ppo", "random"], help="(default: ppo random)")
    add("--trials", type=int, default=40, help="genomes per search (default: 40)")
    add("--proxy", default="bccd-proxy", help="recipe of the searches (default: bccd-proxy)")
    add("--archs", nargs="*", default=["nasfpn", "fpn", "panet", "bifpn"], metavar="GENOME")
    add("--recipe", default="bccd-128", help="recipe of the retraining (default: bccd-128)")
    add("--seeds", nargs="+", type=seed, default=[0, 1, 2], help="(default: 0 1 2)")


def run(args: argparse.Namespace) -> int:
    """Do what is missing in the run folder, then print the table and write it there."""
    from controllers.figures import compare_searches
    from nasfpn_runtime.data.dataset import load_split
    from nasfpn_runtime.files import whole
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
    if not genomes:
        raise UsageError("compare takes one controller or one genome at least")
    if searches:
        compare_searches(searches, out / "searches.svg")
    scores = {
        name: [_score(genome, recipe, args.data, out / _slug(name), seed) for seed in args.seeds]
        for name, genome in genomes.items()
    }
    categories = len(load_split(args.data, "train").categories)
    table = _table(genomes, scores, recipe, categories)
    with whole(out / "table.md") as draft:
        draft.write_text(table)
    print(f"\n{table}\n{out / 'table.md'}")
    if searches:
        print(out / "searches.svg")
    return 0


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def _score(genome: Genome, recipe: Recipe, data: Path, out: Path, seed: int) -> tuple[float, float]:
    """Return AP of the last epoch on val and test, from ``scores.json`` where that is done."""
    from nasfpn_runtime.files import whole
    from nasfpn_runtime.scoring.evaluate import score_checkpoint
    from nasfpn_runtime.training.train import train

    folder = out / f"seed{seed}"
    file = folder / "scores.json"
    if not file.exists():
        print(f"training {folder}", file=sys.stderr)
        result = train(recipe, genome, data, folder, seed=seed)
        test = score_checkpoint(result.last, data, "test")
        with whole(file) as draft:
            draft.write_text(json.dumps({"val": result.metrics["AP"], "test": test["AP"]}))
    scores = json.loads(file.read_text())
    return scores["val"], scores["test"]


def _table(
    genomes: dict[str, Genome],
    scores: dict[str, list[tuple[float, float]]],
    recipe: Recipe,
    categories: int,
) -> str:
    """Return a Markdown table, highest mean val AP first."""
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
