"""``nasfpn fidelity``: how well short trainings rank genomes, compared with a full one."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools import warm
from tools.errors import UsageError
from tools.fidelity_ladder import FILE, add_hours, recommend
from tools.fidelity_plan import WARM, named, print_plan
from tools.options import (
    SEED,
    add_data,
    add_device,
    add_flag,
    add_option,
    add_out,
    add_overrides,
    add_recipe,
    add_space,
    add_workers,
    check_workers,
    real,
    shown_path,
    whole,
)

if TYPE_CHECKING:
    from controllers.fidelity_table import Measured
    from controllers.trainings import Rung, Score, Table, Training
    from controllers.worker import Watch
    from nasfpn_runtime.progress import Progress
    from nasfpn_runtime.recipe.recipe import Recipe
    from search_space import Genome

HELP = "Measure how well short trainings rank genomes"
DESCRIPTION = """\
Measure how well short trainings rank genomes: train genomes from all over the
search space on each rung and by the target recipe, and print rank correlations,
regret, noise and cost of each rung. Run the same command to resume, with more
genomes, seeds or rungs if you like."""
EXAMPLES = (
    "nasfpn fidelity --data shapes --recipe shapes --rung proxy=shapes-proxy "
    "--rung warm=shapes-warm+warm --genomes 12 -o runs/fidelity",
    "nasfpn fidelity --data DIR --genomes 40 --seeds 0 1 -o runs/fidelity --dry-run",
    "nasfpn fidelity --data DIR --rung warm=bccd-warm+warm --rung frozen=mine.yaml+warm "
    "-o runs/fidelity",
    "nasfpn fidelity --data DIR -o runs/fidelity --hours 8",
)
RUNGS = ["proxy=bccd-proxy", f"warm=bccd-warm{WARM}"]
SEED_OF_REFERENCE = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_data(parser)
    add_recipe(parser, of="the target, which the rungs are compared with", default="bccd-128")
    help = f"a rung: its name and recipe, with {WARM} to start from a reference; may be repeated"
    unset = " ".join(RUNGS)
    add_option(
        parser,
        "--rung",
        dest="rungs",
        action="append",
        default=[],
        metavar=f"NAME=RECIPE[{WARM}]",
        unset=unset,
        help=help,
    )
    add_overrides(parser, "model.width=8", of="all recipes")
    add_out(parser, "DIR", "run folder", type=Path, required=True)
    help = "number of genomes: the shipped ones of the space, changes of these, and even draws"
    add_option(parser, "--genomes", type=whole(4, 10_000), default=40, metavar="N", help=help)
    help = "random seeds of the trainings"
    add_option(parser, "--seeds", nargs="+", type=SEED, default=[0, 1], metavar="N", help=help)
    add_space(parser)
    warm.add_reference(parser)
    help = "time limit of a training; one that takes longer has failed"
    kind = real(0, 100_000_000, above=True)
    add_option(parser, "--timeout", type=kind, metavar="SECONDS", unset="no limit", help=help)
    add_hours(parser)
    add_workers(parser)
    add_device(parser)
    add_flag(parser, "--dry-run", "only say how many trainings are left, and about how long")


def run(args: argparse.Namespace) -> int:
    """Train what is missing in the run folder, then write the table there and print it."""
    import numpy as np

    import searched_archs
    from controllers.candidate import prepare, with_recipe
    from controllers.fidelity import TARGET, make, missing, plan, spread
    from controllers.trainings import TABLE, Rung, Table
    from nasfpn_runtime.outputs import check_run_folder
    from nasfpn_runtime.progress import Progress, say
    from nasfpn_runtime.recipe.memory import check_training
    from search_space.spaces import create_space

    check_workers(args.workers, args.device)
    recipes, warm_ones = _recipes(args)
    space = create_space(args.space, args.levels, args.intermediate_cells)
    reference = None
    if warm_ones:
        reference = warm.trained(args, [recipes[name] for name in warm_ones], space.levels)
    elif args.reference or args.reference_recipe:
        raise UsageError(f"--reference and --reference-recipe need a rung that ends with {WARM}")
    seeds: list[int] = list(dict.fromkeys(args.seeds))
    out: Path = args.out
    say(
        f"fidelity: {args.genomes} genomes, {len(recipes)} recipes, seeds "
        f"{' '.join(map(str, seeds))}, data {args.data}, run folder {out}"
    )
    for recipe in recipes.values():
        genome = space.sample(np.random.default_rng(0))
        check_training(recipe, genome, args.device, trainings=args.workers)
    check_run_folder(out, (TABLE,), ("table.md", "reference", "runs", FILE))
    known = [searched_archs.load(name) for name in searched_archs.names()]
    genomes = spread(space, args.genomes, known)
    target = recipes[TARGET]
    prepared = prepare(target, args.data, seed=SEED_OF_REFERENCE, device=args.device)
    rungs = {name: Rung(name, with_recipe(prepared, recipe)) for name, recipe in recipes.items()}

    def started(init: Mapping[str, Any]) -> list[Training]:
        """Let warm rungs start from the reference, and return all trainings."""
        for name in warm_ones:
            rungs[name] = Rung(name, {**rungs[name].arguments, "init": init})
        return plan(list(rungs.values()), genomes, seeds)

    with nullcontext() if args.dry_run else _alone(out):
        table = Table(out / TABLE)
        for number in table.damaged:
            say(f"warning: line {number} of {table.path} cannot be read; it is not used")
        arguments: Mapping[str, Any] = {}
        record = None
        if reference is not None:
            arguments = dict(rungs[warm_ones[0]].arguments)
            depends = {"data": arguments["digests"], "seed": arguments["seed"]}
            record = table.record_of({**reference.identity(), **depends})
        # Without weights yet, warm trainings are still others than those from scratch.
        trainings = started({"digest": (record and record.read()) or "not trained yet"})
        todo = missing(trainings, table)
        print_plan(rungs, trainings, todo, table)
        if args.dry_run:
            return 0
        needed = any(training.rung.name in warm_ones for training in todo)
        if needed and reference is not None and record is not None:
            limits = {"begun": table.warm, "timeout": args.timeout}
            trainings = started(warm.make_ready(reference, out, record, arguments, **limits))
        todo = missing(trainings, table)
        done = len(trainings) - len(todo)
        with Progress("fidelity", "training", len(trainings), done=done) as bar:

            def tell(training: Training, result: Score | str) -> None:
                _say_result(training, result, bar)

            limits = {"workers": args.workers, "timeout": args.timeout}
            make(todo, table, _watch(bar), tell, **limits)
    measured = _report(rungs, genomes, seeds, table)
    if args.hours is not None:
        recommend(args, measured, recipes, warm_ones, reference)
    return 0


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Create a run folder and its table, and lock it for the length of the block.

    Raises:
        UsageError: another process works there.
    """
    from controllers.trainings import TABLE
    from nasfpn_runtime.files import locked

    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(out / ".lock"))
        except BlockingIOError:
            raise UsageError(
                f"cannot train in {out}: another process does; wait for its end, or choose another "
                "--out"
            ) from None
        (out / TABLE).touch()
        yield


def _recipes(args: argparse.Namespace) -> tuple[dict[str, Recipe], list[str]]:
    """Return the recipes by name of their rung, the target first, and the names of warm rungs.

    Raises:
        UserError: a rung has no name or one that is used, or there is no such recipe.
    """
    from controllers.fidelity import TARGET
    from nasfpn_runtime.recipe.recipe import load_recipe
    from search_space.names import path_fault, shown

    recipes = {TARGET: load_recipe(args.recipe, args.overrides)}
    warm_ones = []
    for text in args.rungs or RUNGS:
        name, equals, recipe = text.partition("=")
        if not equals or not recipe.removesuffix(WARM):
            raise UsageError(f"a rung must be NAME=RECIPE or NAME=RECIPE{WARM}, got {shown(text)}")
        if fault := path_fault(name):
            raise UsageError(f"the name of a rung must be {fault}, got {shown(name)}")
        if name in recipes:
            raise UsageError(
                f"the names of rungs must differ from each other and {TARGET}, got {name} twice"
            )
        recipes[name] = load_recipe(recipe.removesuffix(WARM), args.overrides)
        if recipe.endswith(WARM):
            warm_ones.append(name)
        elif stages := recipes[name].training.freeze_stages:
            raise UsageError(
                f"training.freeze_stages must be 0 unless weights are loaded, got {stages} (at "
                f"rung {name}); end it with {WARM}"
            )
    return recipes, warm_ones


def _watch(bar: Progress) -> Callable[[Training], Watch]:
    def of(training: Training) -> Watch:
        def watch(report: Mapping[str, Any]) -> None:
            epoch, epochs = report.get("epoch"), report.get("epochs")
            bar.note(
                f"{training.rung.name}, epoch {epoch}/{epochs}" if epoch else training.rung.name
            )

        return watch

    return of


def _say_result(training: Training, result: Score | str, bar: Progress) -> None:
    from nasfpn_runtime.progress import say
    from search_space import genome_id

    what = f"{training.rung.name}, genome {genome_id(training.genome)[:12]}, seed {training.seed}"
    if isinstance(result, str):
        say(f"fidelity: {what} failed: {result}")
        return
    bar.advance()
    say(f"fidelity: {what}: AP {result.ap:.4f} after {result.seconds:.0f} s")


def _report(
    rungs: Mapping[str, Rung],
    genomes: Sequence[Genome],
    seeds: Sequence[int],
    table: Table,
) -> dict[str, Measured]:
    """Write and print the table; return the scores in it."""
    from controllers.fidelity import TARGET, scores
    from controllers.fidelity_table import FEWEST, Measured, complete
    from controllers.fidelity_table import table as tabulate
    from nasfpn_runtime.files import atomic_write
    from nasfpn_runtime.progress import say
    from search_space.names import printable

    measured = {
        name: Measured(named(rung), *scores(rung, genomes, seeds, table))
        for name, rung in rungs.items()
    }
    count = len(complete(measured))
    if count < len(genomes):
        say(
            f"warning: {len(genomes) - count} of {len(genomes)} genomes lack a score and are left "
            "out of the table; run the same command to try again"
        )
    if count < FEWEST:
        raise UsageError(f"a table needs {FEWEST} genomes with all scores, got {count}")
    text = tabulate(measured)
    file = table.path.parent / "table.md"
    with atomic_write(file) as draft:
        draft.write_text(text, encoding="utf-8")
    target = printable(measured[TARGET].recipe)
    print(f"\n{count} genomes, compared with {target}\n\n{text}")
    print(shown_path(file))
    return measured
