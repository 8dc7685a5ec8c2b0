"""The folder of a training run: whose it is, and that one process at a time trains in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.files import locked, whole
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.recipe.recipe import Recipe
from search_space.codec import load_genome, save_genome
from search_space.errors import GenomeError
from search_space.genome import Genome

SETTINGS, GENOME = "config.yaml", "genome.json"
WRITTEN = ("metrics.jsonl", "train.log", "faults.txt", "checkpoints")  # later, by the run


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Make a run folder if there is none, and keep other processes from training in it.

    Raises:
        CheckpointError: one does.
    """
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(out / ".lock"))
        except BlockingIOError:
            raise CheckpointError(
                f"one process trains in a run folder, got {out}, in which another one does: "
                "wait for its end, or give another --out"
            ) from None
        yield


def write_settings(out: Path, recipe: Recipe, genome: Genome) -> None:
    """Write ``config.yaml`` and ``genome.json`` of a run that begins.

    Raises:
        CheckpointError: the folder has such files already, or others that a run writes, of
            something else than a run of these settings.
    """
    config = yaml.safe_dump(recipe.to_dict(), sort_keys=False)
    if foreign := _foreign(out, config, genome):
        raise CheckpointError(
            f"a run goes to a new folder or goes on in its own, got {out} with {foreign} of "
            "something else: give another --out"
        )
    with whole(out / SETTINGS) as draft:
        draft.write_text(config)
    save_genome(genome, out / GENOME)


def check_same(out: Path, found: Origin, run: Origin) -> None:
    """Raise CheckpointError unless the checkpoint found in a folder is of the same run."""
    for name in ("recipe", "genome", "categories", "seed"):
        if getattr(found, name) != getattr(run, name):
            difference = _difference(found.recipe, run.recipe) if name == "recipe" else ""
            raise CheckpointError(
                f"{out} holds a run of another {name}{difference}: give the settings it was "
                f"started with ({SETTINGS}, {GENOME}) to go on, or another --out"
            )


def _foreign(out: Path, config: str, genome: Genome) -> str | None:
    """Return which file of the folder is not of a run of these settings, if one is."""
    try:
        if (out / GENOME).exists() and load_genome(out / GENOME) != genome:
            return GENOME
    except GenomeError:
        return GENOME
    settings = out / SETTINGS
    if settings.exists():
        return None if settings.read_bytes() == config.encode() else SETTINGS
    # It is written first: where it is missing, these are not the run's.
    return next((name for name in WRITTEN if (out / name).exists()), None)


def _difference(there: Recipe, here: Recipe) -> str:
    """Return the first setting that two recipes differ in, in brackets."""
    one, other = _flat(there.to_dict()), _flat(here.to_dict())
    name = next(name for name in one | other if one.get(name) != other.get(name))
    return f" ({name} is {one.get(name)} there, {other.get(name)} here)"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
        )
    return flat
