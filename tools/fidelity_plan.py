"""What a study of rungs has to do, and about how long it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controllers.trainings import Rung, Table, Training

WARM = "+warm"  # end of the name of a recipe whose trainings start from the reference
# Seconds of a training that are not steps, most of them compilation, and MACs of the detector that
# a second of training covers: `bccd-proxy` on two cores of an AMD EPYC. For a rough guess only.
START, SPEED = 15.0, 2.9e9


def named(rung: Rung) -> str:
    """Return the recipe of a rung, and whether it is a warm start."""
    return str(rung.arguments["recipe"]["name"]) + (WARM if "init" in rung.arguments else "")


def print_plan(
    rungs: Mapping[str, Rung],
    trainings: Sequence[Training],
    todo: Sequence[Training],
    table: Table,
) -> None:
    """Print how many trainings each rung has, how many are left, and about how long they take.

    Args:
        rungs: by name.
        trainings: all of them.
        todo: those that are left.
        table: what was measured; what was not is guessed.
    """
    from controllers.view import clock

    print(f"{'rung':16} {'recipe':20} {'trainings':>9} {'left':>6} {'s each':>8}  time left")
    total = 0.0
    for name, rung in rungs.items():
        planned = [training for training in trainings if training.rung.name == name]
        left = sum(training.rung.name == name for training in todo)
        known = [score.seconds for training in planned if (score := table.score(training))]
        each = sum(known) / len(known) if known else _guess(planned[0])
        total += left * each
        seconds = f"{'' if known else '~'}{each:.0f}"
        print(
            f"{name:16} {named(rung):20} {len(planned):>9} {left:>6} {seconds:>8}  "
            f"{clock(left * each)}"
        )
    print(
        f"{len(todo)} of {len(trainings)} trainings are left, about {clock(total)}, and the "
        "reference if there is none yet (~: a guess for two cores)",
        flush=True,
    )


def _guess(training: Training) -> float:
    """Guess the seconds of a training of which none like it was made here."""
    from nasfpn_runtime.data.dataset import load_split
    from nasfpn_runtime.recipe.recipe import from_dict
    from search_space import detector_cost

    arguments, genome = training.rung.arguments, training.genome
    recipe = from_dict(arguments["recipe"], training.rung.name)
    split = load_split(Path(arguments["data"]), "train", reading=recipe.data.reading)
    macs = detector_cost(genome, recipe.shape(len(split.categories), genome.levels)).macs
    return START + recipe.training.epochs * len(split.with_boxes) * macs / SPEED
