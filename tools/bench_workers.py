"""``nasfpn bench workers``: trainings an hour with several workers, and with one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tools.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = "bccd-warm"  # as small as recipes of a search are
TRAININGS = 2  # by each worker


def run(args: argparse.Namespace) -> None:
    """Print trainings an hour with one worker and with one for each core, in turn, and the ratio.

    Both train the same genomes, each from scratch with the epochs of ``RECIPE``, and compile each
    network anew, as a search does.
    """
    import os
    from statistics import median

    from nasfpn_runtime.bench.data import described, drawn
    from nasfpn_runtime.cluster.graph_store import OFF, VARIABLE
    from nasfpn_runtime.processes import environment
    from nasfpn_runtime.progress import say

    most = len(os.sched_getaffinity(0))
    say(f"bench workers: {most * TRAININGS} trainings with 1 and with {most} workers")
    # Otherwise what one worker has compiled is loaded by the others.
    with environment({VARIABLE: OFF}), drawn(args.data) as data:
        print(f"trainings an hour of {RECIPE}: {described(data)}", flush=True)
        measured: dict[int, list[float]] = {1: [], most: []}
        for _ in range(args.rounds):
            for workers, speeds in measured.items():
                speeds.append(3600 * most * TRAININGS / _seconds(data, most * TRAININGS, workers))
    for workers, speeds in measured.items():
        runs = " ".join(f"{speed:.0f}" for speed in speeds)
        print(f"{workers:3} workers {median(speeds):6.0f}   ({runs})")
    print(f"ratio       {median(measured[most]) / median(measured[1]):6.2f}")


def _seconds(data: Path, count: int, workers: int) -> float:
    """Return the seconds that so many trainings take in new worker processes.

    Raises:
        UsageError: a training failed.
    """
    import tempfile
    import time
    from pathlib import Path

    from controllers.candidate import prepare
    from controllers.fidelity import make, plan, spread
    from controllers.trainings import TABLE, Rung, Score, Table, Training
    from nasfpn_runtime.recipe.recipe import load_recipe
    from search_space import NASFPNSpace

    def check(training: Training, result: Score | str) -> None:
        if isinstance(result, str):
            raise UsageError(f"cannot train genome {training.folder}: {result}")

    with tempfile.TemporaryDirectory() as folder:
        table = Table(Path(folder) / TABLE)
        arguments = prepare(load_recipe(RECIPE), data, seed=0, device="CPU")
        todo = plan([Rung(RECIPE, arguments)], spread(NASFPNSpace(), count), [0])
        started = time.monotonic()
        make(todo, table, lambda _: lambda _: None, check, workers=workers)
        return time.monotonic() - started
