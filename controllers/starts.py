"""Starting points of a search, and the contenders of its final.

A starting point is a genome that is known beforehand, such as the published one. It is queued as a
trial with all decisions (Optuna's ``enqueue_trial``), so it is trained before what the controller
proposes next, and every controller learns from it as from its own proposals. The user attribute
``START`` of the trial has its name. So the study itself says which starting points it has, and they
are queued once, whatever happens between queueing and training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.study import Study
from optuna.trial import FrozenTrial

from controllers.errors import StudyError
from controllers.ladder import rank, rung_names
from controllers.study import FIXED, GENOME_ID, START, trained
from search_space import Genome, SearchSpace, genome_id
from search_space.names import shown


@dataclass(frozen=True)
class Contender:
    """A genome that may win the final.

    Attributes:
        name: that of the starting point, or such as ``trial 17``.
        genome: the genome, as the space decodes it.
        identity: its ``genome_id``.
        start: whether it is a starting point.
        trial: number of the first trial that trained it by the proxy; None if there is none.
        value: the mean value of all trials that trained it.
        rung: the rung of a ladder that the value is of; "" without a ladder.
    """

    name: str
    genome: Genome
    identity: str
    start: bool
    trial: int | None
    value: float | None
    rung: str = ""


def check_starts(space: SearchSpace, starts: Mapping[str, Genome]) -> None:
    """Check that the starting points are in the space.

    Raises:
        StudyError: one is not; the message has its name, the rule that it breaks, and the value.
    """
    for name, genome in starts.items():
        if error := space.violation(genome):
            raise StudyError(
                f"cannot start with {shown(name)}, which is outside the search space: {error}"
            )


def queue_starts(study: Study, space: SearchSpace, starts: Mapping[str, Genome]) -> list[str]:
    """Queue the starting points that the study does not have yet; equal genomes are one.

    Call this while holding ``study.locked``.

    Args:
        starts: genomes by name. If the study has another genome of that name, the name gets a
            number.

    Returns:
        The names of the starting points that were queued.

    Raises:
        StudyError: see :func:`check_starts`.
    """
    check_starts(space, starts)
    known = {identity: trial.user_attrs[START] for identity, trial in _starts(study, space).items()}
    queued = []
    for given, genome in starts.items():
        choices = space.encode(genome)
        identity = genome_id(space.decode(choices))
        if identity in known:
            continue
        name, count = given, 1
        while name in known.values():
            count += 1
            name = f"{given} ({count})"
        study.enqueue_trial(choices, user_attrs={START: name})
        known[identity] = name
        queued.append(name)
    return queued


def contenders(study: Study, space: SearchSpace, best: int) -> list[Contender]:
    """Return the genomes with the best mean values, and the starting points, the best ones first.

    With a ladder, the values of a rung come before those of the rungs below it.

    Args:
        study: the study of the search.
        space: what it searches.
        best: number of genomes to take by their value; starting points may be among them.
    """
    trials: dict[str, list[FrozenTrial]] = {}
    for trial in trained(study):
        trials.setdefault(_identity(trial, space), []).append(trial)
    means = {identity: _mean_rank(given) for identity, given in trials.items()}
    rungs = rung_names(study)
    starts = _starts(study, space)
    found: dict[str, Contender] = {}
    for number, identity in enumerate(sorted(means, key=means.__getitem__, reverse=True)):
        if number < best or identity in starts:
            start, trial = starts.get(identity), trials[identity][0]
            name = f"trial {trial.number}" if start is None else start.user_attrs[START]
            found[identity] = Contender(
                name,
                genome_of(trial, space),
                identity,
                start is not None,
                trial.number,
                means[identity][1],
                rungs[means[identity][0]] if rungs else "",
            )
    for identity, start in starts.items():  # those that are not trained
        if identity not in found:
            name = start.user_attrs[START]
            found[identity] = Contender(name, genome_of(start, space), identity, True, None, None)
    return list(found.values())


def _starts(study: Study, space: SearchSpace) -> dict[str, FrozenTrial]:
    """Return the first trial of each starting point, by the id of its genome."""
    trials = [t for t in study.get_trials(deepcopy=False) if START in t.user_attrs]
    return {_identity(trial, space): trial for trial in reversed(trials)}


def _mean_rank(trials: Sequence[FrozenTrial]) -> tuple[int, float, int]:
    """Return a key as ``ladder.rank`` does, of all trials that trained a genome.

    It has the mean of their values on the highest rung that any of them has reached.
    """
    ranks = [rank(trial) for trial in trials]
    highest = max(rung for rung, *_ in ranks)
    values = [value for rung, value, _ in ranks if rung == highest]
    return highest, sum(values) / len(values), ranks[0][2]


def _identity(trial: FrozenTrial, space: SearchSpace) -> str:
    return trial.user_attrs.get(GENOME_ID) or genome_id(genome_of(trial, space))


def genome_of(trial: FrozenTrial, space: SearchSpace) -> Genome:
    """Return the genome of a trial, which may still be queued."""
    given = {**trial.system_attrs.get(FIXED, {}), **trial.params}
    return space.decode({d.name: given[d.name] for d in space.decisions()})
