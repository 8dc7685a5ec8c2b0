"""``nasfpn search``: search for a genome on a dataset."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools import warm
from tools.errors import UsageError
from tools.ladder import LadderPlan, load_ladder
from tools.options import (
    TRIALS,
    add_data,
    add_device,
    add_flag,
    add_option,
    add_out,
    add_overrides,
    add_recipe,
    add_seed,
    add_space,
    add_workers,
    check_workers,
    real,
)
from tools.search_final import (
    FinalPlan,
    add_final,
    add_start,
    plan_final,
    result_lines,
    run_final,
    starting_points,
)
from tools.search_view import ProgressView

if TYPE_CHECKING:
    from optuna.study import Study

    from controllers.placing import Placing
    from controllers.reference import Reference
    from nasfpn_runtime.recipe.recipe import Recipe
    from search_space import Genome, SearchSpace

HELP = "Search for a genome: train candidates, learn from their scores"
DESCRIPTION = """\
Search for a genome: a controller proposes genomes, each is trained briefly and
scored, and the controller learns from the scores. At the end, the best ones and
the starting points are trained again with fresh seeds. Run the same command to
resume; run it in a second terminal to search faster."""
EXAMPLES = (
    "nasfpn search --data shapes --recipe shapes-proxy --trials 12 -o runs/search",
    "nasfpn search --data shapes --recipe shapes-proxy --controller evolution "
    "--controller-set population=30 -o runs/evolution",
    "nasfpn search --data shapes --recipe shapes-proxy --space wide -o runs/wide",
    "nasfpn search --data shapes --recipe shapes-proxy --start nasfpn,mine.json --final 3 "
    "--final-recipe shapes -o runs/mine",
    "nasfpn search --data shapes --recipe shapes-proxy --levels 3-6 --set model.separable=true "
    "-o runs/lite",
    "nasfpn search --data shapes --recipe shapes-warm --warm-start -o runs/warm",
    "nasfpn search --data shapes --ladder ladder.yaml -o runs/ladder",
)


# Files that a search writes into its run folder.
WRITTEN = (
    "config.yaml",
    "best.json",
    "reference",
    "trials",
    "ppo.state",
    "final",
    "figures/search.svg",
    "figures/best.svg",
    "figures/final.svg",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_data(parser)
    add_recipe(parser, of="the short training of each genome", unset="those of --ladder")
    help = "YAML file with several short trainings, cheapest first; the best genomes get the next"
    add_option(parser, "--ladder", type=Path, metavar="FILE", unset="none", help=help)
    add_overrides(parser, of="the recipe, or of all recipes of the ladder")
    add_out(parser, "DIR", "run folder", type=Path, required=True)
    help = "what proposes genomes: gp, ppo, random, evolution, local-search, tpe or nsga2"
    add_option(parser, "--controller", default="gp", metavar="NAME", help=help)
    add_option(
        parser,
        "--controller-set",
        dest="controller_settings",
        action="append",
        default=[],
        unset="none",
        metavar="KEY=VALUE",
        help="change a setting of the controller, listed below; may be repeated",
    )
    help = "number of genomes to train, including those of earlier runs"
    add_option(parser, "--trials", type=TRIALS, default=60, metavar="N", help=help)
    add_start(parser)
    add_final(parser)
    add_seed(parser, of="the controller and every training; the final's are the ones after it")
    add_space(parser)
    help = "time limit of a short training; a genome that takes longer has failed"
    unset = "no limit"
    add_option(
        parser,
        "--timeout",
        type=real(0, 100_000_000, above=True),
        metavar="SECONDS",
        unset=unset,
        help=help,
    )
    help, unset = "URL of an Optuna storage for the study", "DIR/study.journal"
    add_option(parser, "--storage", metavar="URL", unset=unset, help=help)
    help = "if DIR/study.journal is damaged, keep a copy and the trials that can be read"
    add_flag(parser, "--repair-study", help)
    add_workers(parser)
    add_device(parser)
    warm.add_arguments(parser)
    _list_controller_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Search, or resume the search in the run folder."""
    from controllers.report import OVERSTATED
    from controllers.settings import parse_settings
    from nasfpn_runtime.progress import say
    from nasfpn_runtime.recipe.recipe import load_recipe
    from search_space import Level
    from search_space.spaces import create_space

    if args.repair_study and args.storage:
        raise UsageError(
            "--repair-study is for DIR/study.journal and cannot be used with --storage"
        )
    check_workers(args.workers, args.device)
    if bool(args.ladder) == bool(args.recipe):
        raise UsageError(
            f"one of --recipe and --ladder must be given, got {'both' if args.ladder else 'none'}"
        )
    levels = tuple(map(Level, args.levels))
    if args.ladder:
        plan = load_ladder(args.ladder, args.overrides)
        recipe, reference = plan.first, plan.start(args, levels)
        last, is_warm = plan.last
        final = plan_final(args, last, reference if is_warm else None, plan.final)
    else:
        plan, recipe = None, load_recipe(args.recipe, args.overrides)
        reference = warm.chosen(args, recipe, levels)
        final = plan_final(args, recipe, reference)
    space = create_space(args.space, args.levels, args.intermediate_cells)
    run_search(
        args.data,
        args.out,
        recipe=recipe,
        controller=args.controller,
        controller_settings=parse_settings(args.controller_settings),
        trials=args.trials,
        seed=args.seed,
        timeout=args.timeout,
        storage=args.storage,
        device=args.device,
        space=space,
        repair=args.repair_study,
        reference=reference,
        starts=starting_points(args.start, space),
        final=final,
        plan=plan,
        workers=args.workers,
    )
    if not args.final:
        say(f"warning: {OVERSTATED}")
    return 0


def run_search(
    data: Path,
    out: Path,
    *,
    recipe: Recipe,
    controller: str = "gp",
    controller_settings: Mapping[str, Any] | None = None,
    trials: int = 60,
    seed: int = 0,
    timeout: float | None = None,
    storage: str | None = None,
    device: str = "CPU",
    space: SearchSpace | None = None,
    repair: bool = False,
    reference: Reference | None = None,
    starts: Mapping[str, Genome] | None = None,
    final: FinalPlan | None = None,
    workers: int = 1,
    plan: LadderPlan | None = None,
) -> Study:
    """Search, leave ``best.json`` and ``figures/`` in the run folder, and print where they are.

    With ``repair``, a damaged journal is repaired, see ``journal.open_journal``. With
    ``reference``, genomes start from it, see ``controllers/reference.py``. The ``starts`` are
    trained first, see ``controllers/starts.py``. A ``final`` follows the search; its trainings
    start from a reference that was given, not from one that the search has trained. ``workers``
    trainings run at a time. With a ``plan``, genomes are trained on its rungs, of which ``recipe``
    is that of the first.

    Raises:
        UserError: data, recipe, controller or run folder cannot be used, or candidate after
            candidate fails.
        KeyboardInterrupt: finished trials are kept. The figures are drawn when the search has
            been resumed, or at once if it is given no more trials than it has.
    """
    from nasfpn_runtime.progress import Progress, say
    from search_space import NASFPNSpace
    from search_space.spaces import size_text

    space = space or NASFPNSpace()
    by = plan or f"recipe {recipe.name}"
    say(
        f"search: {trials} genomes by {controller}, {by}, data {data}, run folder "
        f"{out}, space {space.kind} of {size_text(space)}"
    )

    if final is not None:
        say(
            f"search: then a final of the best {final.best} and the starting points, recipe "
            f"{final.recipe.name}, up to {final.rules.seeds} fresh seeds each"
        )

    import numpy as np
    import optuna

    from controllers.best import save_best
    from controllers.candidate import prepare, with_recipe
    from controllers.final import FinalSettings
    from controllers.identity import check_config, identify, write_config
    from controllers.reference import Given, weights_of
    from controllers.registry import check_controller, create_sampler
    from controllers.report import doubt, write_report
    from controllers.search import SearchSettings, search
    from controllers.starts import queue_starts
    from controllers.study import locked, open_study, trained
    from nasfpn_runtime.outputs import check_run_folder
    from nasfpn_runtime.recipe.memory import check_training
    from search_space.names import printable

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the lines below say what it would
    rng = np.random.default_rng(0)
    # Only a search that cannot train any genome is refused, so the genome has few cells.
    few = min((space.sample(rng) for _ in range(20)), key=lambda genome: len(genome.cells))
    rungs = [recipe] if plan is None else [*plan.recipes.values()]
    for each in [*rungs, final.recipe] if final else rungs:
        check_training(each, few, device, trainings=workers)
    settings = check_controller(controller, controller_settings or {})
    check_run_folder(out, ("study.lock", "study.journal"), WRITTEN)
    sampler = create_sampler(controller, space, seed, settings)
    arguments = prepare(recipe, data, seed=seed, device=device, report=say)
    again = arguments  # of the final
    if final is not None and final.recipe != recipe:
        again = with_recipe(arguments, final.recipe)
    start = None if reference is None else reference.identity()
    ladder = None if plan is None else plan.ladder(arguments)
    about = None if ladder is None else ladder.identity()
    identity = identify(controller, settings, space, arguments, start, about)
    if storage or not (out / "study.journal").exists():  # a journal itself says what it is of
        check_config(identity, out)
    study = open_study(out, identity, sampler, storage, say if repair else None)
    write_config(identity, data, out / "config.yaml")
    done = len(trained(study))
    if study.get_trials(deepcopy=False):
        say(f"search: resuming, {done} of {trials} genomes are trained")
    with locked(out):
        if queued := queue_starts(study, space, starts or {}):
            late = "only take part in the final, because --trials is reached"
            say(
                f"search: the starting points {', '.join(queued)} "
                f"{'are trained first' if done < trials else late}"
            )
    given = isinstance(reference, Given)
    if reference is not None and (given or done < trials):
        record, begun = weights_of(study), done > 0
        like = arguments if ladder is None else ladder.dearest_warm
        init = warm.make_ready(reference, out, record, like, begun=begun, timeout=timeout)
        arguments = {**arguments, "init": init}
        ladder = ladder and ladder.started(init)
        again = {**again, "init": init} if given else again

    def finish(placing: Placing | None = None) -> None:
        with locked(out):
            save_best(study, space, out)  # if the search ended before it was written
        lines = list(write_report(study, out))
        if placing is not None:
            lines += result_lines(placing, out, again)
        if lines:
            print("", *map(printable, lines), sep="\n")
        if line := doubt(study):
            say(f"warning: {line}")

    placing = None
    try:
        with Progress("search", "genome", trials, done=done) as progress:
            limits = SearchSettings(
                out,
                trials,
                arguments,
                timeout=timeout,
                workers=workers,
                wait=final is not None,
                ladder=ladder,
            )
            search(study, space, limits, ProgressView(progress))
        if final is not None:
            write_report(study, out)  # an interrupt of the final leaves the figures
            race = FinalSettings(out, again, final.best, final.rules, storage, workers=workers)
            placing = run_final(study, space, race, final.recipe.name, say if repair else None)
    except Exception:  # not an interrupt, which must not wait until figures are drawn
        finish()
        raise
    finish(placing)
    return study


def _list_controller_settings(parser: argparse.ArgumentParser) -> None:
    """Let the help of the parser list the settings of the controllers, above the examples.

    The list is made when the help is printed, because it needs Optuna, which takes a while to
    import, and the parser is made for every command.
    """
    format_help, examples = parser.format_help, parser.epilog

    def format_with_settings() -> str:
        parser.epilog = f"{_settings_table()}\n\n{examples}"
        return format_help()

    parser.format_help = format_with_settings  # type: ignore[method-assign]


def _settings_table() -> str:
    import textwrap

    from controllers.registry import controller_settings, names

    lines = ["settings of the controllers for --controller-set, with their defaults:"]
    for name in names():
        settings = controller_settings(name).items()
        text = " ".join(f"{key}={setting.default}" for key, setting in settings) or "none"
        indent = " " * 16
        lines += textwrap.wrap(
            f"{text}", 79, initial_indent=f"  {name:14}", subsequent_indent=indent
        )
    return "\n".join(lines)
