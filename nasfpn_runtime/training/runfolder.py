"""The folder of a training run: which run it belongs to, and a lock for one process at a time.

A run is identified by its :class:`Origin` without ``epoch``, ``best_ap``, ``partial`` and
``metrics``. It is in every checkpoint, and in ``run.json`` from the start. Whatever would reuse a
result compares it with :func:`difference`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from nasfpn_runtime.data.digest import comparable
from nasfpn_runtime.documents import read_yaml
from nasfpn_runtime.errors import CheckpointError, DocumentError, RecipeError
from nasfpn_runtime.files import atomic_write, locked
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.recipe.recipe import Recipe, from_dict
from nasfpn_runtime.training.finetune import MISSING
from search_space.codec import load_genome, save_genome
from search_space.errors import GenomeError
from search_space.genome import Genome
from search_space.identity import genome_id

SETTINGS, GENOME, RUN = "config.yaml", "genome.json", "run.json"
# Files that a run writes after its settings.
WRITTEN_LATER = ("metrics.jsonl", "train.log", "faults.txt", "checkpoints", "figures/curves.svg")


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


def write_settings(out: Path, run: Origin) -> None:
    """Write ``config.yaml``, ``genome.json`` and ``run.json`` of a run that starts.

    Raises:
        CheckpointError: the folder has such files with other values, or other files of a run
            without them.
    """
    if stored := read_run(out):
        check_same(out, stored, run)
    if foreign := _foreign_file(out, run.recipe, run.genome):
        raise CheckpointError(
            f"{out / foreign} does not belong to this run; choose another --out, or give the "
            f"settings in {SETTINGS} and {GENOME} there"
        )
    _write(out, run, SETTINGS)
    if not (out / GENOME).exists():  # a search writes it before, with the number of the trial
        _write(out, run, GENOME)
    _write(out, run, RUN)


def restore_settings(out: Path, run: Origin) -> tuple[str, ...]:
    """Write the files of :func:`write_settings` again where they are not those of a resumed run.

    The checkpoint says which run it is. A file that is missing or damaged is written, too.

    Returns:
        The names of the files.
    """
    checks: dict[str, Callable[[], bool]] = {
        SETTINGS: lambda: _read_settings(out / SETTINGS) == run.recipe,
        GENOME: lambda: load_genome(out / GENOME) == run.genome,
        RUN: lambda: _is_of(read_run(out), run),
    }
    restored = []
    for name, is_right in checks.items():
        try:
            if is_right():
                continue
        except (CheckpointError, GenomeError, OSError):
            pass
        _write(out, run, name)
        restored.append(name)
    return tuple(restored)


def _is_of(stored: Origin | None, run: Origin) -> bool:
    if stored is None:
        return run.data is None  # a run of an earlier version has no such file
    return not difference(stored, run)


def _write(out: Path, run: Origin, name: str) -> None:
    if name == GENOME:
        return save_genome(run.genome, out / GENOME)
    text = yaml.safe_dump(run.recipe.to_dict(), sort_keys=False)
    if name == RUN:
        text = replace(run, epoch=0, best_ap=None, metrics=None).to_json() + "\n"
    with atomic_write(out / name) as draft:
        draft.write_text(text, encoding="utf-8")
    return None


def read_run(out: Path) -> Origin | None:
    """Return the run in ``run.json``; None without the file, as in folders of earlier versions.

    Raises:
        CheckpointError: the file is damaged.
    """
    file = out / RUN
    if not file.exists():
        return None
    return Origin.from_json(file.read_text(errors="replace", encoding="utf-8"), file)


def check_same(out: Path, stored: Origin, run: Origin) -> None:
    """Check that what a folder holds is of this run.

    Raises:
        CheckpointError: they differ, see :func:`difference`.
    """
    if what := difference(stored, run):
        remedy = (
            f"to resume it, give what it was started with (settings: {SETTINGS}, {GENOME}), else "
            "choose another --out"
        )
        if _is_longer(stored, run):
            remedy = (
                "a run cannot be extended, because its learning rates are planned for its length; "
                f"start a new one from its weights: --init {out / 'checkpoints' / 'last.ckpt'} and "
                "another --out"
            )
        raise CheckpointError(f"{out} holds a run of {what}; {remedy}")


def difference(stored: Origin, run: Origin) -> str:
    """Return what makes a run another one than a stored one, for a message.

    The data and the initial weights are compared only where both are known: checkpoints of earlier
    versions have neither.

    Returns:
        Such as ``another recipe (training.lr is 0.1 there, 0.2 here)``; empty for the same run.
    """
    if stored.recipe != run.recipe:
        name, before, now = _differences(stored.recipe, run.recipe)[0]
        return f"another recipe ({name} is {before} there, {now} here)"
    if stored.genome != run.genome:
        return f"another genome ({genome_id(stored.genome)} there, {genome_id(run.genome)} here)"
    if stored.categories != run.categories:
        before, now = (", ".join(origin.categories) for origin in (stored, run))
        return f"other categories ({before} there, {now} here)"
    if stored.seed != run.seed:
        return f"another seed ({stored.seed} there, {run.seed} here)"
    there, here = stored.data or {}, run.data or {}
    for split in sorted(there.keys() & here.keys()):
        one, other = there[split], here[split]
        if one != other and comparable(one, other):
            return f"another dataset (its split {split} has other images or boxes)"
    if run.init == MISSING and stored.init:
        return ""  # a resumed run does not read them, so the file may have been removed
    if None not in (stored.init, run.init) and stored.init != run.init:
        before, now = (o.init[:14] if o.init else "random" for o in (stored, run))
        return f"other initial weights (--init: {before} there, {now} here)"
    return ""


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
        content = read_yaml(file)
        return from_dict(content, str(file)) if isinstance(content, Mapping) else None
    except DocumentError as error:
        raise CheckpointError(f"cannot read the settings of a run as YAML: {error}") from None
    except RecipeError:
        return None


def _is_longer(stored: Origin, run: Origin) -> bool:
    """Return whether a run differs from a stored one by a larger number of epochs only."""
    names = [name for name, *_ in _differences(stored.recipe, run.recipe)]
    longer = run.recipe.training.epochs > stored.recipe.training.epochs
    return longer and names == ["training.epochs"]


def _differences(stored: Recipe, given: Recipe) -> list[tuple[str, Any, Any]]:
    """Return the settings that two recipes differ in, with both values."""
    one, other = _flat(stored.to_dict()), _flat(given.to_dict())
    names = (name for name in one | other if name != "description")  # is not compared
    pairs = ((name, one.get(name), other.get(name)) for name in names)
    return [(name, there, here) for name, there, here in pairs if there != here]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
        )
    return flat
