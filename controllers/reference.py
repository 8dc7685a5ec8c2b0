"""Warm starts: one trained detector, the reference, from which every candidate of a search starts.

Genomes with the same levels differ in their merging cells only. A candidate gets backbone, laterals
and head of the reference, and new cells (``Init.drop_cells`` in ``nasfpn_runtime``). It then
needs far fewer epochs until its AP tells good genomes from bad ones.

A reference is made once for a study. The study records what it is, as a part of its identity, and
the digest of its weights. With other weights the values of a study could not be compared, so a
file that is missing or has changed stops the search; it is never made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.study import Study

from controllers.errors import SearchError, StudyError
from controllers.worker import EVALUATE, Job, ProxyWorker, Watch
from nasfpn_runtime import files
from search_space import Genome, Level, MergingCell, genome_id, to_json

FOLDER = "reference"  # of its training, in the run folder
CHECKPOINT = Path(FOLDER, "checkpoints", "best.ckpt")
WEIGHTS = "reference_weights"  # user attribute of a study: digest of the weights
# Epochs of a reference, as a multiple of those of a candidate: 40 for 5, the trial on blood cells
# in which candidates from a reference ranked as well as 20 epochs from scratch.
LONGER = 8


@dataclass(frozen=True)
class Given:
    """A reference that exists: a checkpoint of ``nasfpn train`` or ``nasfpn import``.

    Attributes:
        path: the checkpoint.
        drop_head: do not load the layers that predict classes.
    """

    path: Path
    drop_head: bool = False

    def identity(self) -> dict[str, Any]:
        """Return what must be the same when the search is resumed, as JSON data.

        Raises:
            SearchError: there is no such file.
        """
        if (digest := digest_of(self.path)) is None:
            raise SearchError(f"there is no checkpoint at {self.path}")
        return {"weights": digest, **({"drop_head": True} if self.drop_head else {})}


@dataclass(frozen=True)
class Trained:
    """A reference that the search trains, with its seed.

    Attributes:
        genome: with the levels of the space.
        recipe: all settings (``Recipe.to_dict``), for the same network as the candidates'.
    """

    genome: Genome
    recipe: Mapping[str, Any]

    def identity(self) -> dict[str, Any]:
        """Return what must be the same when the search is resumed, as JSON data."""
        recipe = {key: value for key, value in self.recipe.items() if key != "description"}
        return {"genome": genome_id(self.genome), "recipe": recipe}


Reference = Given | Trained


@dataclass(frozen=True)
class Record:
    """Where the digest of a trained reference is kept, for all processes that use it.

    Attributes:
        read: returns the digest, None before it is written.
        write: keeps it.
    """

    read: Callable[[], str | None]
    write: Callable[[str], None]


@dataclass(frozen=True)
class Making:
    """How a reference is trained, and what shows it.

    Attributes:
        arguments: what every candidate gets (see ``candidate.prepare``).
        timeout: seconds after which the training has failed; None for no limit.
        say: takes a line on what happens.
        watch: see ``ProxyWorker.evaluate``.
        evaluate: see ``worker.Job``.
    """

    arguments: Mapping[str, Any]
    timeout: float | None = None
    say: Callable[[str], None] = lambda line: None
    watch: Watch | None = None
    evaluate: str = EVALUATE


def top_down(levels: Sequence[Level]) -> Genome:
    """Return the pyramid of FPN for any levels: each level adds the one above it.

    For P3 to P7 it is the shipped genome ``fpn``. It is plain, and not a member of the paper's
    space, as its coarsest output is a copy: no candidate is favoured because it is the reference.
    """
    top = len(levels) - 1
    cells = [
        MergingCell(levels[top - 1 - i], "sum", (top - 1 - i, top + i)) for i in range(top)
    ] + [MergingCell(levels[top], "identity", (top,))]
    return Genome(tuple(cells), tuple(levels))


def longer(recipe: Mapping[str, Any], factor: int = LONGER) -> dict[str, Any]:
    """Return the recipe of a reference for candidates of a recipe: the same, for more epochs.

    It freezes nothing, because it starts at random, and saves a checkpoint as often as a candidate
    is trained, so that a kill costs little.
    """
    training = recipe["training"]
    epochs = training["epochs"]
    changed = {"epochs": factor * epochs, "freeze_stages": 0, "save_every": epochs}
    return {**recipe, "training": {**training, **changed}}


def ready(
    reference: Reference, out: Path, record: Record, making: Making, *, begun: bool
) -> dict[str, Any]:
    """Return what candidates get as their argument ``init``; train the reference if need be.

    Processes that share a run folder train it once: the others wait.

    Args:
        reference: what it is.
        out: run folder; the training is in ``out/reference``.
        record: where its digest is kept.
        making: how it is trained.
        begun: whether values of candidates exist, so that it must have been made before.

    Returns:
        JSON data: ``path`` (absolute), ``digest`` and ``drop_head``.

    Raises:
        StudyError: the weights are not those that the search began with.
        SearchError: it cannot be trained.
    """
    if isinstance(reference, Given):
        digest, drop_head = reference.identity()["weights"], reference.drop_head
        return {"path": str(reference.path.resolve()), "digest": digest, "drop_head": drop_head}
    path = out / CHECKPOINT
    waiting = "reference: waiting for another process that trains it"
    with files.locked(out / "reference.lock", lambda: making.say(waiting)):
        digest = record.read()
        if digest is None and not (begun and not path.is_file()):
            _train(reference, out / FOLDER, making)
            digest = digest_of(path)
            if digest is None:
                raise SearchError(f"the training of the reference must write {path}, got no file")
            record.write(digest)
    if digest is None or digest != digest_of(path):
        state = "has changed" if path.is_file() else "is missing"
        raise StudyError(
            f"cannot go on: {path} {state}, and all values of this search come from trainings that "
            "start from it; restore the file, or choose another folder for another search"
        )
    return {"path": str(path.resolve()), "digest": digest, "drop_head": False}


def weights_of(study: Study) -> Record:
    """Return where a study keeps the digest of its reference."""
    return Record(
        lambda: study.user_attrs.get(WEIGHTS), lambda digest: study.set_user_attr(WEIGHTS, digest)
    )


def digest_of(path: Path) -> str | None:
    """Return the digest of a checkpoint, None if there is no file."""
    return files.digest_of(path) if path.is_file() else None


def _train(reference: Trained, folder: Path, making: Making) -> None:
    """Train a reference in a run folder; a run that was interrupted is resumed.

    Raises:
        SearchError: it fails.
    """
    epochs = reference.recipe["training"]["epochs"]
    making.say(f"reference: training it for {epochs} epochs, once for this run folder")
    arguments = {
        **making.arguments,
        "recipe": dict(reference.recipe),
        "genome": to_json(reference.genome),
        "out": str(folder),
    }
    log = folder / "log"
    with ProxyWorker() as worker:
        outcome = worker.evaluate(
            Job(making.evaluate, arguments, log), making.timeout, making.watch
        )
    if outcome.metrics is None:
        raise SearchError(f"cannot train the reference: {outcome.error}; see {log}")
    ap = outcome.metrics.get("AP", 0.0)
    making.say(f"reference: AP {ap:.4f} on val after {outcome.seconds:.0f} s")
    if not ap > 0:
        making.say(
            "warning: the reference finds nothing, so genomes start from weights that know little; "
            "train it longer with --reference-recipe"
        )
