"""How well short trainings rank genomes: the trainings of a study of rungs.

A rung is a way to score a genome: a recipe, from scratch or from a reference. Every genome is
trained on every rung and by the target recipe, with several seeds.
"""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Callable, Sequence

import numpy as np

from controllers import crew
from controllers.errors import SearchError
from controllers.ranking import Array
from controllers.trainings import Rung, Score, Table, Training
from controllers.worker import EVALUATE, Job, Outcome, ProxyWorker, Watch
from search_space import Genome, SearchSpace, genome_id, to_json

TARGET = "target"  # the rung that the others are compared with
FAILURES = 5  # failed trainings in a row after which a study stops
CHANGES = 4  # mutations of a known genome, at most
DRAWS = 100  # genomes drawn for each one that is wanted, before the space is used up


def spread(space: SearchSpace, count: int, known: Sequence[Genome] = ()) -> list[Genome]:
    """Return different genomes of a space, with more good ones than even draws have.

    They are the known members; then, in turn, an even draw and a known member, itself changed by
    one to ``CHANGES`` mutations: most genomes near a good one are good (locality, Ying et al. 2019,
    NAS-Bench-101). More genomes begin with the same ones. If the space has too few,
    there are fewer.
    """
    members = [genome for genome in known if space.contains(genome)]
    genomes = {genome_id(genome): genome for genome in members}
    rng = np.random.default_rng(0)
    for draw in range(DRAWS * count):
        if len(genomes) >= count:
            break
        if draw % 2 and members:
            genome = members[rng.integers(len(members))]
            for _ in range(rng.integers(1, CHANGES + 1)):
                genome = space.mutate(genome, rng)
        else:
            genome = space.sample(rng)
        genomes.setdefault(genome_id(genome), genome)
    return list(genomes.values())[:count]


def plan(rungs: Sequence[Rung], genomes: Sequence[Genome], seeds: Sequence[int]) -> list[Training]:
    """Return all trainings of a study, genome by genome, so that a part of it is of use."""
    return [Training(rung, genome, seed) for genome in genomes for rung in rungs for seed in seeds]


def missing(trainings: Sequence[Training], table: Table) -> list[Training]:
    """Return the trainings that have no score yet; the same one on two rungs only once."""
    todo = {t.key: t for t in reversed(trainings) if table.score(t) is None}
    return list(reversed(todo.values()))


def make(
    trainings: Sequence[Training],
    table: Table,
    watch: Callable[[Training], Watch],
    tell: Callable[[Training, Score | str], None],
    *,
    workers: int = 1,
    timeout: float | None = None,
    evaluate: str = EVALUATE,
) -> None:
    """Make trainings, and keep their scores in a table.

    A failed training is not in the table: it is tried again when the study is resumed. The weights
    of a training are removed once its score is on the disk.

    Args:
        trainings: those to make.
        table: where scores go.
        watch: returns what shows a training.
        tell: is called after each training with its score, or the reason why it failed. Nothing
            else runs in this process meanwhile.
        workers: number of trainings at a time, see ``crew.run``.
        timeout: seconds after which a training has failed.
        evaluate: see ``worker.Job``.

    Raises:
        SearchError: no training could succeed, or ``FAILURES`` in a row have failed.
    """
    left = iter(trainings)
    lock = threading.Lock()
    failures = 0

    def finish(training: Training, outcome: Outcome) -> None:
        nonlocal failures
        folder = table.path.parent / training.folder
        if outcome.stop:
            raise SearchError(f"cannot train {folder}: {outcome.error}")
        ap, error = outcome.value("AP")
        if ap is None:
            failures += 1
            tell(training, str(error))
            if failures >= FAILURES:
                raise SearchError(
                    f"{failures} trainings in a row failed, the last with {error!r}; see "
                    f"{folder / 'log'}"
                )
            return
        failures = 0
        score = Score(ap, round(outcome.seconds, 3))
        table.add(training, score)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        tell(training, score)

    def work(worker: ProxyWorker) -> None:
        while True:
            with lock:
                training = next(left, None)
            if training is None:
                return
            folder = table.path.parent / training.folder
            arguments = {
                **training.rung.arguments,
                "seed": training.seed,
                "genome": to_json(training.genome),
                "out": str(folder),
            }
            job = Job(evaluate, arguments, folder / "log")
            outcome = worker.evaluate(job, timeout, watch(training))
            with lock:
                finish(training, outcome)

    crew.run(workers, work)


def scores(
    rung: Rung, genomes: Sequence[Genome], seeds: Sequence[int], table: Table
) -> tuple[Array, Array]:
    """Return AP and seconds of a rung, (genomes, seeds) each; NaN where a training is missing."""
    found = [[table.score(Training(rung, genome, s)) for s in seeds] for genome in genomes]
    blank = Score(math.nan, math.nan)
    return (
        np.array([[(score or blank).ap for score in row] for row in found]),
        np.array([[(score or blank).seconds for score in row] for row in found]),
    )
