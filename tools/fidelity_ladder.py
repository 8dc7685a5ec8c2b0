"""The ladder that ``nasfpn fidelity --hours`` recommends, as a file for ``nasfpn search``."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.errors import UsageError
from tools.options import Options, add_option, real, shown_path

if TYPE_CHECKING:
    from controllers.fidelity_table import Measured
    from controllers.ladder_choice import Choice, Game
    from controllers.reference import Trained
    from nasfpn_runtime.recipe.recipe import Recipe

FILE = "ladder.yaml"  # in the run folder
FINALISTS = 5  # as many as `nasfpn search` has by default
SHOWN = 5  # ladders in the table
COLUMNS = ("ladder", "one of", "s a genome", "genomes", "AP of what is found")


def add_hours(options: Options) -> None:
    """Add ``--hours``."""
    add_option(
        options,
        "--hours",
        type=real(0, 100_000, above=True),
        metavar="H",
        unset="no recommendation",
        help=f"recommend the cheapest ladder for a search of so many hours, final included, and "
        f"write it to DIR/{FILE}",
    )


def recommend(
    args: argparse.Namespace,
    measured: Mapping[str, Measured],
    recipes: Mapping[str, Recipe],
    warm: Collection[str],
    reference: Trained | None,
) -> None:
    """Print the ladders that find most, and write the recommended one to the run folder.

    Args:
        args: the arguments of the command.
        measured: scores by the name of the rung, with the target.
        recipes: by the name of the rung.
        warm: names of the rungs that start from the reference.
        reference: the reference; None without warm rungs.

    Raises:
        UsageError: no ladder can be climbed in these hours.
    """
    import yaml

    from controllers.ladder_choice import game, recommended
    from nasfpn_runtime.files import atomic_write
    from nasfpn_runtime.progress import say

    say("fidelity: playing searches on all ladders")
    once = _once(measured, recipes, warm, reference)
    played = game(measured, args.hours * 3600, once, FINALISTS)
    choices = played.choices()
    if not choices:
        least = min(played.final + once.get(name, 0.0) for name in measured) / 3600
        raise UsageError(
            f"--hours must be above {least:.3g}, which a final of {FINALISTS} genomes and the "
            f"reference take, for a search besides, got {args.hours:g}"
        )
    best = recommended(choices)
    others = [choice for choice in choices if choice is not best][: SHOWN - 1]
    print(f"\n{_heading(args.hours, played)}\n")
    print(f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", sep="\n")
    for choice in (best, *others):
        print(f"| {' | '.join(_cells(choice, played))} |")
    path: Path = args.out / FILE
    content = _content(best, recipes, warm, reference, args.reference)
    with atomic_write(path) as draft:
        draft.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    data, file, count = shown_path(args.data), shown_path(path), _genomes(best, played)
    print("\nThe first one is recommended: the cheapest of those that are level with the best.")
    print(f"nasfpn search --data {data} --ladder {file} --trials {count} --out DIR\n{file}")


def _once(
    measured: Mapping[str, Measured],
    recipes: Mapping[str, Recipe],
    warm: Collection[str],
    reference: Trained | None,
) -> dict[str, float]:
    """Return the seconds of the reference, by the warm rungs, from those of their epochs."""
    import numpy as np

    if reference is None:
        return {}
    epochs = reference.recipe["training"]["epochs"]
    each = [
        float(np.nanmean(measured[name].seconds)) / recipes[name].training.epochs for name in warm
    ]
    return dict.fromkeys(warm, epochs * min(each))


def _heading(hours: float, played: Game) -> str:
    from controllers.view import clock

    reference = max(played.once.values(), default=0.0)
    besides = f", for warm rungs a reference (about {clock(reference)})" if reference else ""
    return (
        f"{hours:g} hours: a final of {played.finalists} genomes with {played.rounds} trainings "
        f"each ({clock(played.final)}){besides}, and the search:"
    )


def _cells(choice: Choice, played: Game) -> list[str]:
    low, high = played.interval(choice)
    return [
        ", ".join(choice.rungs),
        str(choice.factor) if len(choice.rungs) > 1 else "-",
        f"{choice.seconds:.0f}",
        str(_genomes(choice, played)),
        f"{choice.ap:.3f} ({low:.3f} to {high:.3f})",
    ]


def _genomes(choice: Choice, played: Game) -> int:
    """Return how many genomes a search has time for; a play may have stopped before."""
    left = played.left(choice.rungs)
    return max(1, int(left / choice.seconds)) if choice.seconds else int(choice.genomes)


def _content(
    choice: Choice,
    recipes: Mapping[str, Recipe],
    warm: Collection[str],
    reference: Trained | None,
    genome: str | None,
) -> dict[str, Any]:
    """Return the content of a ladder file with all settings, see ``tools/ladder.py``.

    Args:
        genome: that of the reference, as the command line has it.
    """
    from controllers.fidelity import TARGET

    rungs = [
        {"name": name, "warm": name in warm, "recipe": recipes[name].to_dict()}
        for name in choice.rungs
    ]
    content: dict[str, Any] = {"factor": choice.factor, "rungs": rungs}
    if reference is not None and not set(choice.rungs).isdisjoint(warm):
        content["reference"] = {"recipe": dict(reference.recipe)}
        if genome is not None:
            named = Path(genome)
            content["reference"]["genome"] = str(named.resolve()) if named.suffix else genome
    return {**content, "final": recipes[TARGET].to_dict()}
