"""What must be the same when a search is resumed, and the check that it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from controllers import candidate
from controllers.errors import StudyError
from controllers.registry import controller_settings, names
from nasfpn_runtime.documents import read_yaml
from nasfpn_runtime.errors import DocumentError
from search_space import NASFPNSpace, SearchSpace
from search_space.base import FIELDS
from search_space.files import atomic_write
from search_space.rules import json_integer

# Key of the controller's settings: all of them, so that a later version can change a default
# without changing a study. Earlier versions recorded only those that were given.
SETTINGS = "controller_settings"
CONFIG, FOLDER = "config.yaml", "data_folder"
# The defaults that those versions had, by controller, where they are not the present ones.
EARLIER_DEFAULTS: dict[str, dict[str, float]] = {
    "evolution": {"crossover_probability": 0.0},
    "local-search": {"values": 1, "patience": 0},
    "ppo": {"learning_rate": 2e-3, "entropy": 0.1, "heat": 0.0},
}
KIND = "kind"  # of the space; studies in the paper's do not record it, because all once were
LADDER = "ladder"  # key of the rungs of a search; searches without it have a ``recipe`` instead
REFERENCE = "reference"  # key of what candidates start from; studies without it have none
DATA, ANNOTATIONS = "data", "annotations"  # keys of candidate.dependencies


def identify(
    controller: str,
    settings: Mapping[str, float],
    space: SearchSpace,
    arguments: Mapping[str, Any],
    reference: Mapping[str, Any] | None = None,
    ladder: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what must be the same when the search is resumed, as JSON data.

    Args:
        controller: name of the controller.
        settings: its settings that were given; the others have their defaults.
        space: what is searched.
        arguments: what every candidate gets (see ``candidate.prepare``).
        reference: identity of what the candidates start from (see ``reference``); None if they
            start from scratch.
        ladder: identity of a ladder (see ``ladder.Ladder``), whose rungs have recipes of their own.
    """
    every = {**_defaults(controller), **settings}
    identity = {
        "controller": controller,
        **({SETTINGS: every} if every else {}),
        "seed": arguments["seed"],
        "space": {
            **({} if space.kind == NASFPNSpace.kind else {KIND: space.kind}),
            **{name: getattr(space, name) for name in FIELDS},
        },
        **candidate.dependencies(arguments),
        **({REFERENCE: reference} if reference else {}),
    }
    if ladder is not None:
        del identity["recipe"]
        identity[LADDER] = ladder
    plain: dict[str, Any] = json.loads(
        json.dumps(identity, default=json_integer)
    )  # levels and tuples become plain
    return plain


def check_same(stored: Mapping[str, Any], given: Mapping[str, Any], out: Path) -> None:
    """Check that two identities are of the same search.

    The stored one may be of an earlier version, with the names that settings of recipes had
    then, without settings that did not exist, and with a hash of the annotation files of COCO
    instead of digests of the data. Digests are compared if both have them, of one version. A
    setting of the recipe that is missing has its default, and one of the controller that is missing
    in the stored identity has the default that it had then.

    Args:
        stored: identity of the study in ``out``.
        given: identity of the search that would resume it.
        out: run folder, for messages.

    Raises:
        StudyError: they differ; the message has the first setting that does.
    """
    one = _comparable(stored, str(out), EARLIER_DEFAULTS.get(stored.get("controller", ""), {}))
    other = _comparable(given, str(out))
    known = DATA in one and DATA in other and candidate.comparable(one[DATA], other[DATA])
    unused = ANNOTATIONS if known else DATA
    one.pop(unused, None)
    other.pop(unused, None)
    if difference := _difference(one, other):
        name, before, now = difference
        if name.partition(".")[0] in (DATA, ANNOTATIONS):
            raise StudyError(
                f"the dataset must have the images and boxes of that of the study in {out}, got "
                f"others ({name} is {before} there, {now} here); choose another folder for another "
                "search"
            )
        if name == LADDER or (LADDER in one) != (LADDER in other):
            raise StudyError(
                f"the ladder must be that of the study in {out}, {_rungs(one)}, got "
                f"{_rungs(other)}; see --ladder, or choose another folder for another search"
            )
        if name in (REFERENCE, f"{REFERENCE}.weights", f"{REFERENCE}.genome"):
            raise StudyError(_other_reference(one.get(REFERENCE), other.get(REFERENCE), out))
        raise StudyError(
            f"{name} must be {before!r} as in the study in {out}, got {now!r}; "
            f"{_option(name, one, other)}choose another folder for another search"
        )


def check_config(identity: Mapping[str, Any], out: Path) -> None:
    """Check that what another study has left in a run folder is of this search, too.

    A study in a storage does not know what its run folder holds.

    Raises:
        StudyError: ``config.yaml`` there is of another search, or cannot be read.
    """
    path = out / CONFIG
    if not path.exists():
        return
    try:
        stored = read_yaml(path)
    except DocumentError as error:
        raise StudyError(f"cannot read what the files in {out} are of: {error}") from None
    if not isinstance(stored, dict) or "controller" not in stored:
        raise StudyError(f"{path} must be of a search; choose another folder")
    stored.pop(FOLDER, None)
    check_same(stored, identity, out)


def write_config(identity: Mapping[str, Any], data: Path, path: Path) -> None:
    """Write the identity of a search and the folder of its dataset as YAML."""
    config = {**identity, FOLDER: str(data.resolve())}
    with atomic_write(path) as draft:
        draft.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


# The options that decide what is searched and how, by the name of what a study records.
_OPTIONS = {
    "controller": "--controller",
    f"space.{KIND}": "--space",
    "space.intermediate_cells": "--intermediate-cells",
}


def _option(name: str, stored: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return how to continue with what a study has, of which defaults may change.

    Args:
        name: of the first value that differs.
        stored, given: both identities.
    """
    section, _, key = name.partition(".")
    options = []
    if name in _OPTIONS:
        value = stored[section][key] if key else stored[section]
        options = [f"{_OPTIONS[name]} {value}"]
    elif section == SETTINGS:
        now = given.get(SETTINGS, {})
        options = [
            f"--controller-set {key}={value}"
            for key, value in sorted(stored.get(SETTINGS, {}).items())
            if value is not None and now.get(key) != value
        ]
    return f"give {' '.join(options)} to go on with it, or " if options else ""


def _other_reference(
    before: Mapping[str, Any] | None, now: Mapping[str, Any] | None, out: Path
) -> str:
    """Return a message that the candidates of a study start from something else."""

    def named(reference: Mapping[str, Any] | None) -> str:
        if reference is None:
            return "none"
        if "weights" in reference:
            return f"a checkpoint with the digest {reference['weights'][:14]}"
        return f"a training of genome {reference['genome'][:14]}"

    return (
        f"the reference that genomes start from must be that of the study in {out}, {named(before)}"
        f", got {named(now)}; see --warm-start and --init, or choose another folder for another "
        "search"
    )


def _rungs(identity: Mapping[str, Any]) -> str:
    rungs = identity.get(LADDER, {}).get("rungs", ())
    return f"with the rungs {', '.join(rungs)}" if rungs else "none"


def _defaults(controller: object) -> dict[str, float]:
    known = controller_settings(str(controller)) if controller in names() else {}
    return {key: setting.default for key, setting in known.items()}


def _comparable(
    identity: Mapping[str, Any], where: str, earlier: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Return the identity with present names of settings, and with defaults of missing ones.

    Args:
        identity: of a study or of a search.
        where: the run folder, for messages.
        earlier: defaults to use instead of the present ones.
    """
    comparable = dict(identity)
    if isinstance(recipe := identity.get("recipe"), Mapping):
        comparable["recipe"] = candidate.complete_recipe(recipe, where)
    if isinstance(ladder := identity.get(LADDER), Mapping):
        recipes = {
            name: candidate.complete_recipe(recipe, where)
            for name, recipe in ladder.get("recipes", {}).items()
        }
        comparable[LADDER] = {**ladder, "recipes": recipes}
    if isinstance(space := identity.get("space"), Mapping):
        comparable["space"] = {KIND: NASFPNSpace.kind, **space}
    if isinstance(reference := identity.get(REFERENCE), Mapping) and "recipe" in reference:
        complete = candidate.complete_recipe(reference["recipe"], where)
        comparable[REFERENCE] = {**reference, "recipe": complete}
    defaults = {**_defaults(identity.get("controller")), **(earlier or {})}
    return {**comparable, SETTINGS: {**defaults, **identity.get(SETTINGS, {})}}


def _difference(stored: Any, given: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """Return the dotted name of the first value that differs, with both values."""
    if isinstance(stored, dict) and isinstance(given, dict):
        # Spaces of two kinds differ in more than the kind, which says it best.
        for key in sorted(stored.keys() | given.keys(), key=lambda key: (key != KIND, key)):
            inner = f"{name}.{key}".lstrip(".")
            if difference := _difference(stored.get(key), given.get(key), inner):
                return difference
        return None
    return None if stored == given else (name, stored, given)
