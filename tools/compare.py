"""``nasfpn compare``: search with several controllers, retrain the winners, make a table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tools.genomes import load_all, load_named, path_name, run_folder
from tools.options import (
    SEED,
    TRIALS,
    add_data,
    add_option,
    add_out,
    add_overrides,
    add_recipe,
    shown_path,
)

if TYPE_CHECKING:
    from nasfpn_runtime.network.checkpoint import Origin
    from nasfpn_runtime.recipe.recipe import Recipe
    from search_space.genome import Genome

HELP = "Compare controllers and known genomes in one table"
DESCRIPTION = """\
Search with several controllers, retrain the winners and known genomes with
several seeds, and write one table of their scores and costs. Run the same
command to resume, with more --trials or other genomes if you like."""
SPLITS = ("train", "val", "test")
SCORES = "scores.json"
_FIRST = b"| pyramid |"  # start of a table
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
    add_option(parser, "--trials", type=TRIALS, default=40, metavar="N", help=help)
    add_recipe(parser, "--proxy", of="the short trainings of the searches", default="bccd-proxy")
    add_overrides(parser, name="--proxy-set", dest="proxy_overrides", of="that recipe")
    help = "genomes to train besides the winners: shipped names or JSON files"
    default = ["nasfpn", "fpn", "panet", "bifpn"]
    add_option(parser, "--archs", nargs="*", default=default, metavar="GENOME", help=help)
    add_recipe(parser, of="the retraining", default="bccd-128")
    add_overrides(parser, of="the recipe of the retraining")
    help, seeds = "random seeds of the retraining", [0, 1, 2]
    add_option(parser, "--seeds", nargs="+", type=SEED, default=seeds, metavar="N", help=help)


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
    from nasfpn_runtime.data.digest import digests
    from nasfpn_runtime.files import atomic_write
    from nasfpn_runtime.network.checkpoint import Origin
    from nasfpn_runtime.outputs import check_run_folder
    from nasfpn_runtime.recipe.memory import check_training
    from nasfpn_runtime.recipe.recipe import load_recipe
    from tools.search import run_search

    proxy = load_recipe(args.proxy, args.proxy_overrides, "--proxy-set")
    recipe = load_recipe(args.recipe, args.overrides)
    out: Path = args.out
    controllers, seeds = (list(dict.fromkeys(given)) for given in (args.controllers, args.seeds))
    # A run leaves one of these files before the table and the figure.
    marks = ("search-*/study.lock", "*/seed*/run.json", "*/seed*/scores.json")
    check_run_folder(out, marks, ("table.md", "searches.svg"))
    _check_table(out / "table.md")
    winners = {controller: f"{controller} winner" for controller in controllers}
    named = load_all(args.archs, list(winners.values()))
    splits = {name: load_split(args.data, name, reading=recipe.data.reading) for name in SPLITS}
    data, categories = digests(splits), splits["train"].categories
    genomes: dict[str, Genome] = {}
    folders: dict[str, Path] = {}

    def run_of(name: str, seed: int) -> Origin:
        return Origin(recipe, genomes[name], categories, seed, 0, data=data, init="")

    def add(name: str, stem: str, genome: Genome) -> None:
        """Add a row, after checking that the runs in its folder are of this comparison."""
        taken = {folder: genomes[other] for other, folder in folders.items()}
        genomes[name] = genome
        folders[name] = run_folder(out / path_name(stem).replace(" ", "-"), genome, taken)
        for seed in seeds:
            _check_stored(folders[name] / f"seed{seed}", run_of(name, seed))

    for name, (stem, genome) in named.items():
        check_training(recipe, genome)
        add(name, stem, genome)
    searches = {}
    for controller in controllers:
        folder = out / f"search-{controller}"
        study = run_search(
            args.data, folder, recipe=proxy, controller=controller, trials=args.trials
        )
        searches[controller] = study.get_trials(deepcopy=False)
        winner = load_named(str(folder / "best.json"))[1]
        add(winners[controller], winners[controller], winner)
    if searches:
        compare_searches(searches, out / "searches.svg")
    scores = {
        name: [
            _score(run_of(name, seed), args.data, folders[name] / f"seed{seed}") for seed in seeds
        ]
        for name in genomes
    }
    table = _table(genomes, scores, recipe, len(categories))
    with atomic_write(out / "table.md") as draft:
        draft.write_text(table, encoding="utf-8")
    print(f"\n{table}\n{shown_path(out / 'table.md')}")
    if searches:
        print(shown_path(out / "searches.svg"))
    return 0


def _check_table(file: Path) -> None:
    """Refuse to replace a table that no comparison wrote: runs of `train` may be beside it.

    Raises:
        UsageError: see above.
    """
    if not file.is_file():
        return
    with file.open("rb") as stream:
        if stream.read(len(_FIRST)) != _FIRST:
            raise UsageError(
                f"cannot write {file}: it is not a table of this command; choose another --out"
            )


def _check_stored(folder: Path, run: Origin) -> None:
    """Check that the run in a folder, and its scores, are of this comparison.

    Raises:
        CheckpointError: they are of another recipe, dataset or seed.
    """
    from nasfpn_runtime.errors import CheckpointError
    from nasfpn_runtime.training.runfolder import difference, read_run

    scored = _read_scores(folder / SCORES)
    for origin in (read_run(folder), scored[1] if scored else None):
        if origin and (what := difference(origin, run)):
            raise CheckpointError(
                f"{folder} holds a run of {what}; choose another --out for another comparison"
            )


def _read_scores(file: Path) -> tuple[tuple[float, float], Origin] | None:
    """Return the scores in a file, val and test, and the run they are of.

    None if there is no such file, if it cannot be read, if a score cannot be an AP, or if the run
    is not recorded with all of its data, as in a file of an earlier version.
    """
    from nasfpn_runtime.documents import read_json
    from nasfpn_runtime.errors import CheckpointError, DocumentError
    from nasfpn_runtime.network.checkpoint import Origin

    try:
        content = read_json(file)
        origin = Origin.from_json(json.dumps(content["run"]), file)
        val, test = content["val"], content["test"]
        possible = all(type(ap) in (int, float) and -1 <= ap <= 1 for ap in (val, test))
    except (DocumentError, LookupError, TypeError, CheckpointError):
        return None
    recorded = origin.init is not None and set(origin.data or ()) >= set(SPLITS)
    return ((float(val), float(test)), origin) if possible and recorded else None


def _score(run: Origin, data: Path, folder: Path) -> tuple[float, float]:
    """Return the AP on val and test after the last epoch: the stored ones, or train and score."""
    from nasfpn_runtime.data.dataset import load_split
    from nasfpn_runtime.data.digest import check_unchanged, digests
    from nasfpn_runtime.files import atomic_write
    from nasfpn_runtime.progress import say
    from nasfpn_runtime.scoring.evaluate import score_checkpoint
    from nasfpn_runtime.training.train import train

    file = folder / SCORES
    if stored := _read_scores(file):  # checked by _check_stored
        return stored[0]
    if file.exists():
        say(f"compare: {file} does not say which run its scores are of; scoring again")
    say(f"compare: training {folder}")
    expected = dict(run.data or {})
    test = {"test": expected.pop("test")}
    result = train(run.recipe, run.genome, data, folder, seed=run.seed, expected=expected)
    scores = result.metrics["AP"], score_checkpoint(result.last, data, "test")["AP"]
    split = load_split(data, "test", reading=run.recipe.data.reading)
    check_unchanged(test, digests({"test": split}), str(data))
    content = {"val": scores[0], "test": scores[1], "run": json.loads(run.to_json())}
    with atomic_write(file) as draft:
        draft.write_text(json.dumps(content), encoding="utf-8")
    return scores


def _table(
    genomes: dict[str, Genome],
    scores: dict[str, list[tuple[float, float]]],
    recipe: Recipe,
    categories: int,
) -> str:
    """Return a Markdown table, sorted by mean val AP, highest first."""
    from search_space import detector_cost
    from search_space.names import printable

    columns = ["pyramid", *(f"{s} AP {v}" for s in ("val", "test") for v in ("mean", "range"))]
    columns += ["MACs", "parameters"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name in sorted(scores, key=lambda name: -_mean(scores[name], 0)):
        genome = genomes[name]
        cost = detector_cost(genome, recipe.shape(categories, genome.levels))
        cells = [printable(name).replace("|", "\\|")]
        for column in (0, 1):
            values = [pair[column] for pair in scores[name]]
            cells += [f"{_mean(scores[name], column):.3f}", f"{min(values):.3f}-{max(values):.3f}"]
        cells += [f"{cost.macs / 1e6:.1f} M", f"{cost.parameters / 1e6:.2f} M"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean(pairs: list[tuple[float, float]], column: int) -> float:
    return sum(pair[column] for pair in pairs) / len(pairs)
