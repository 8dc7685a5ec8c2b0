"""``best.json``: the winner of the final or, as long as there is none, the best genome so far."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.study import Study

from controllers.journal import IDENTITY
from controllers.ladder import recipe_of
from controllers.starts import Contender, contenders
from controllers.study import GENOME_ID
from search_space import SearchSpace, save_genome, to_json

# User attribute of the study of a search: what its last final has found, see
# ``final.conclusion``. It follows from the study of the final, which would write it again.
FINAL = "final"


def save_best(study: Study, space: SearchSpace, out: Path) -> bool:
    """Write the best genome and the trial it comes from to ``best.json``.

    That is the winner of the final, with its scores there, if its contenders are still those of
    the study; a search that goes on may find others. Otherwise it is the genome with the best
    mean value, and the first trial that trained it; with a ladder, that on the highest rung that
    any genome has reached. ``rung`` and ``recipe`` are then those of the value.

    The file follows from the study: one with any other content is replaced. Does nothing while no
    trial has a value. Call this while holding ``study.locked``.

    Returns:
        Whether the file was written; False if it was there already.
    """
    best = next(iter(contenders(study, space, 1)), None)
    if best is None or best.trial is None:  # starting points that are not trained yet
        return False
    path = out / "best.json"
    if (won := winner(study, space)) is not None:
        contender, conclusion = won
        genome, trial, value = contender.genome, contender.trial, contender.value
        rung = contender.rung
        meta: dict[str, Any] = {GENOME_ID: contender.identity, FINAL: conclusion}
    else:
        genome, trial, value, rung = best.genome, best.trial, best.value, best.rung
        meta = {GENOME_ID: best.identity}
    identity = study.user_attrs.get(IDENTITY, {})
    names = ("controller", "recipe", "seed", "data", "reference")
    known = {**identity, "recipe": recipe_of(identity, rung)}
    kept = {name: known[name] for name in names if known.get(name) is not None}
    meta = {**kept, "trial": trial, "value": value, **({"rung": rung} if rung else {}), **meta}
    if path.exists() and path.read_bytes() == to_json(genome, meta).encode():
        return False
    save_genome(genome, path, meta)
    return True


def conclude(study: Study, best: int, found: list[Contender], result: Mapping[str, Any]) -> None:
    """Record in the study of a search what its final has found.

    Args:
        study: the study of the search.
        best: number of contenders that were taken by their value.
        found: the contenders.
        result: JSON data: ``winner``, the id of a genome, and what ``best.json`` is to have.
    """
    of = {"best": best, "contenders": sorted(contender.identity for contender in found)}
    given = {"of": of, "result": dict(result)}
    if study.user_attrs.get(FINAL) != given:
        study.set_user_attr(FINAL, given)


def winner(study: Study, space: SearchSpace) -> tuple[Contender, dict[str, Any]] | None:
    """Return the winner of the last final and its result; None if there was none.

    None, too, if the study has other contenders now, because the search went on.
    """
    match study.user_attrs.get(FINAL):
        case {
            "of": {"best": int(best), "contenders": list(known)},
            "result": {"winner": str(name), **result},
        }:
            now = {contender.identity: contender for contender in contenders(study, space, best)}
            if sorted(now) == known and name in now:
                return now[name], {str(key): entry for key, entry in result.items()}
    return None
