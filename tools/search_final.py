"""Starting points and the final of ``nasfpn search``: their options, and what runs them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.genomes import load_all
from tools.options import Options, add_option, add_overrides, add_recipe, whole
from tools.search_view import ProgressView

if TYPE_CHECKING:
    from optuna.study import Study

    from controllers.contest import Rules
    from controllers.final import Final, FinalSettings
    from controllers.placing import Placing
    from controllers.reference import Reference
    from nasfpn_runtime.recipe.recipe import Recipe
    from search_space import Genome, SearchSpace

PUBLISHED = "nasfpn"
NONE = "none"


@dataclass(frozen=True)
class FinalPlan:
    """The final that is to follow a search.

    Attributes:
        recipe: its recipe.
        best: number of contenders to take by their value in the search.
        rules: how long it goes on.
    """

    recipe: Recipe
    best: int
    rules: Rules


def add_start(options: Options) -> None:
    """Add ``--start``."""
    add_option(
        options,
        "--start",
        metavar="GENOMES",
        unset=f"{PUBLISHED}, if the space has it",
        help="genomes to train first, also in the final: shipped names or JSON files, separated by "
        f"commas, or {NONE}; the study keeps those of earlier runs",
    )


def add_final(options: Options) -> None:
    """Add the options of the final."""
    help = "number of best genomes to train again with fresh seeds at the end, beside the "
    help += "starting points; 0: no final"
    add_option(options, "--final", type=whole(0, 1000), default=5, metavar="K", help=help)
    add_recipe(
        options,
        "--final-recipe",
        of="the final",
        unset="that of the search or of the ladder, with --warm-start that of the reference",
    )
    add_overrides(options, name="--final-set", dest="final_overrides", of="the final's recipe")
    help = "fresh seeds in the final, at most; clearly worse genomes get fewer, from 3 on"
    add_option(options, "--final-seeds", type=whole(3, 1000), default=8, metavar="N", help=help)
    help = "trainings in the final, at most, including those of earlier runs"
    add_option(
        options,
        "--final-trainings",
        type=whole(1, 1_000_000),
        metavar="N",
        unset="no limit",
        help=help,
    )


def starting_points(given: str | None, space: SearchSpace) -> dict[str, Genome]:
    """Return the genomes of ``--start`` by name.

    Raises:
        UsageError: one cannot be read.
        StudyError: one is outside the space.
    """
    from controllers.starts import check_starts

    if given == NONE:
        return {}
    names = [PUBLISHED] if given is None else given.split(",")
    starts = {name: genome for name, (_, genome) in load_all(names).items()}
    if given is None and not space.contains(starts[PUBLISHED]):
        return {}
    check_starts(space, starts)
    return starts


def plan_final(
    args: argparse.Namespace,
    recipe: Recipe,
    reference: Reference | None,
    usual: Recipe | None = None,
) -> FinalPlan | None:
    """Return the final that the options ask for; None for none.

    Args:
        args: the arguments of the command.
        recipe: that of the search.
        reference: what its genomes start from. If the search trains it, its recipe is the
            default: that of the search is too short for trainings from scratch.
        usual: the default instead, if a ladder file has one.

    Raises:
        RecipeError: the recipe of the final cannot be used.
    """
    from controllers.contest import Rules
    from controllers.reference import Trained
    from nasfpn_runtime.recipe.recipe import change, from_dict, load_recipe

    if not args.final:
        return None
    if args.final_recipe:
        recipe = load_recipe(args.final_recipe)
    elif usual is not None:
        recipe = usual
    elif isinstance(reference, Trained):
        recipe = from_dict(reference.recipe, "the recipe of the reference")
    if args.final_overrides:
        recipe = change(recipe, args.final_overrides, "--final-set")
    return FinalPlan(recipe, args.final, Rules(args.final_seeds, args.final_trainings))


def run_final(
    study: Study,
    space: SearchSpace,
    settings: FinalSettings,
    recipe: str,
    repair: Callable[[str], None] | None,
) -> Placing | None:
    """Run a final, after a line on what it will cost, and draw ``figures/final.svg``.

    Args:
        study: the study of the search.
        space: what it searches.
        settings: those of the final.
        recipe: name of its recipe.
        repair: see ``journal.open_journal``.

    Returns:
        The result; None, after a warning, if there is none.
    """
    from controllers.figures import draw_final
    from controllers.final import Final
    from controllers.report import announce
    from nasfpn_runtime.progress import Progress, say

    final = Final(study, space, settings, repair)
    say(announce(final, recipe))
    made = sum(map(len, final.results().values()))
    with Progress("final", "training", made + final.standing()[1].most, done=made) as progress:
        placing = final.run(ProgressView(progress))
    if placing is None:
        say(f"warning: {_why_none(final)}")
        return None
    draw_final(placing, figure_of(settings.out), metric=settings.metric)
    return placing


def result_lines(placing: Placing, out: Path, arguments: Mapping[str, Any]) -> list[str]:
    """Return the lines to print about a final."""
    from controllers.candidate import cost
    from controllers.report import final_lines

    found = [place.contender for place in placing.places]
    costs = {contender.identity: cost(arguments, contender.genome) for contender in found}
    return ["", *final_lines(placing, costs), f"final       {figure_of(out)}"]


def figure_of(out: Path) -> Path:
    """Return the figure of the final in a run folder."""
    return out / "figures" / "final.svg"


def _why_none(final: Final) -> str:
    found, state = final.standing()
    if len(state.failed) == len(found):
        return f"there is no final: all {len(found)} contenders failed; see {final.folder}"
    return (
        f"there is no final: --final-trainings must be {len(state.inside)} or more for "
        f"{len(state.inside)} contenders, besides those that were made, got "
        f"{final.settings.rules.trainings}"
    )
