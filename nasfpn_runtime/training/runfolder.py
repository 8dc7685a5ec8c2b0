"""The folder of a training run: which run it belongs to, and a lock for one process at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.files import atomic_write, locked
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.recipe.recipe import Recipe, from_dict
from nasfpn_runtime.recipe.schema import YAML_ERRORS
from search_space.codec import load_genome, save_genome
from search_space.errors import GenomeError
from search_space.genome import Genome

SETTINGS, GENOME = "config.yaml", "genome.json"
# Files that a run writes after its settings.
WRITTEN_LATER = ("metrics.jsonl", "train.log", "faults.txt", "checkpoints")


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Create a run folder if it is missing, and lock it for the length of the block.

    Raises:
        CheckpointError: another process holds the lock.
    """
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(out / ".lock"))
        except BlockingIOError:
            raise CheckpointError(
                f"cannot train in {out}: another process is training there; wait for its end, or "
                "choose another --out"
            ) from None
        yield


def write_settings(out: Path, recipe: Recipe, genome: Genome) -> None:
    """Write ``config.yaml`` and ``genome.json`` of a run that starts.

    Raises:
        CheckpointError: the folder has such files with other values, or other files of a run
            without them.
    """
    if foreign := _foreign_file(out, recipe, genome):
        raise CheckpointError(
            f"{out / foreign} does not belong to this run; choose another --out, or give the "
            f"settings in {SETTINGS} and {GENOME} there"
        )
    with atomic_write(out / SETTINGS) as draft:
        draft.write_text(yaml.safe_dump(recipe.to_dict(), sort_keys=False))
    if not (out / GENOME).exists():  # a search writes it before, with the number of the trial
        save_genome(genome, out / GENOME)


def check_same(out: Path, stored: Origin, run: Origin) -> None:
    """Check that the checkpoint in a folder is one of this run.

    Raises:
        CheckpointError: its recipe, genome, categories or seed differ.
    """
    for name in ("recipe", "genome", "categories", "seed"):
        if getattr(stored, name) != getattr(run, name):
            difference = _difference(stored.recipe, run.recipe) if name == "recipe" else ""
            raise CheckpointError(
                f"{out} holds a run of another {name}{difference}; to resume it, give the settings "
                f"it was started with ({SETTINGS}, {GENOME}), else choose another --out"
            )


def _foreign_file(out: Path, recipe: Recipe, genome: Genome) -> str | None:
    """Return the name of a file in the folder that is not from a run with these settings."""
    try:
        if (out / GENOME).exists() and load_genome(out / GENOME) != genome:
            return GENOME
    except GenomeError:
        return GENOME
    if (out / SETTINGS).exists():
        return None if _read_settings(out / SETTINGS) == recipe else SETTINGS
    # A run writes its settings first: without them, the other files are not from a run.
    return next((name for name in WRITTEN_LATER if (out / name).exists()), None)


def _read_settings(file: Path) -> Recipe | None:
    """Return the recipe in a ``config.yaml``, which may have old names; None if it has none."""
    try:
        content = yaml.safe_load(file.read_text())
        return from_dict(content, str(file)) if isinstance(content, Mapping) else None
    except YAML_ERRORS:  # RecipeError is a ValueError
        return None


def _difference(stored: Recipe, given: Recipe) -> str:
    """Return the first setting that two recipes differ in, in brackets."""
    one, other = _flat(stored.to_dict()), _flat(given.to_dict())
    names = (name for name in one | other if name != "description")  # is not compared
    name = next(name for name in names if one.get(name) != other.get(name))
    return f" ({name} is {one.get(name)} there, {other.get(name)} here)"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
        )
    return flat
