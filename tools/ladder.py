"""Ladder files: the rungs of ``nasfpn search --ladder``; ``nasfpn fidelity`` writes one, too."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools import warm
from tools.errors import UsageError

if TYPE_CHECKING:
    from controllers.ladder import Ladder
    from controllers.reference import Reference
    from nasfpn_runtime.recipe.recipe import Recipe
    from search_space import Level

MOST_RUNGS, MOST_FACTOR = 8, 16  # a storage keeps factor ** rungs as an integer of 32 bits


@dataclass(frozen=True)
class _Rung:
    """A rung in a file.

    Attributes:
        name: its name, a part of paths.
        recipe: a shipped name, a file, or settings.
        set: ``section.key=value`` each, which change the recipe.
        warm: whether genomes start from the reference.
    """

    name: str
    recipe: Any
    set: tuple[str, ...] = ()
    warm: bool = False


@dataclass(frozen=True)
class _Reference:
    """The reference in a file: its recipe, as that of a rung, and its genome, a name or a file."""

    recipe: Any = None
    genome: str | None = None


@dataclass(frozen=True)
class _Ladder:
    """The content of a file: the rungs, the cheapest first, and the recipe of the final.

    About one of ``factor`` genomes goes on to the next rung.
    """

    rungs: tuple[_Rung, ...]
    factor: int = 3
    reference: _Reference | None = None
    final: Any = None


@dataclass(frozen=True)
class LadderPlan:
    """The ladder that a file describes.

    Attributes:
        path: the file.
        recipes: by the name of the rung, the cheapest first.
        factor: see ``controllers.ladder.Ladder``.
        warm: names of the rungs on which genomes start from the reference.
        reference: recipe of the reference; None for that of the last warm rung, for more epochs.
        genome: genome of the reference, a shipped name or a file; None for that of
            ``reference.top_down``.
        final: recipe of the final; None if the file has none.
    """

    path: Path
    recipes: Mapping[str, Recipe]
    factor: int
    warm: frozenset[str]
    reference: Recipe | None
    genome: str | None
    final: Recipe | None

    def __str__(self) -> str:
        """Return a line such as ``ladder mine.yaml: short, long; one of 3 goes on``."""
        rungs = ", ".join(self.recipes)
        return f"ladder {self.path} ({rungs}; one of {self.factor} goes on)"

    @property
    def first(self) -> Recipe:
        """The recipe of the first rung."""
        return next(iter(self.recipes.values()))

    @property
    def last(self) -> tuple[Recipe, bool]:
        """The recipe of the last rung, and whether it is a warm one."""
        name = list(self.recipes)[-1]
        return self.recipes[name], name in self.warm

    def ladder(self, prepared: Mapping[str, Any]) -> Ladder:
        """Return the rungs, before warm ones are given weights to start from.

        Args:
            prepared: what ``candidate.prepare`` returned for the first rung.

        Raises:
            DataError: a recipe cannot be used with the data.
        """
        from controllers.candidate import with_recipe
        from controllers.ladder import Ladder
        from controllers.trainings import Rung

        rungs = [Rung(name, with_recipe(prepared, each)) for name, each in self.recipes.items()]
        return Ladder(tuple(rungs), self.factor, self.warm)

    def start(self, args: argparse.Namespace, levels: Sequence[Level]) -> Reference | None:
        """Return what genomes of warm rungs start from; None if there is no warm rung.

        Args:
            args: parsed options of ``warm.add_arguments``.
            levels: those of the space.

        Raises:
            UserError: options exclude or need each other, or the reference has other levels or
                another network than a warm rung.
        """
        from controllers.reference import Given

        for option in ("warm_start", "reference", "reference_recipe"):
            if getattr(args, option):
                raise UsageError(
                    f"--{option.replace('_', '-')} cannot be used with --ladder, whose file says "
                    "which rungs start from a reference, and from which"
                )
        if args.init and not self.warm:
            raise UsageError(f"--init needs a rung with `warm: true`, got none (at {self.path})")
        if args.drop_head and not args.init:
            raise UsageError("--drop-head needs --init CKPT")
        if args.init:
            return Given(args.init, args.drop_head)
        if not self.warm:
            return None
        recipes = [recipe for name, recipe in self.recipes.items() if name in self.warm]
        names = (f"reference.genome of {self.path}", f"reference.recipe of {self.path}")
        return warm.reference_of(self.genome, self.reference, recipes[::-1], levels, names)


def load_ladder(path: Path, overrides: Sequence[str] = ()) -> LadderPlan:
    """Read a ladder file.

    Names of files in it are relative to its folder.

    Args:
        overrides: ``section.key=value`` each, for all recipes.

    Raises:
        RecipeError: the file cannot be read, a key is unknown or missing, or a value is wrong.
    """
    from nasfpn_runtime.documents import read_yaml
    from nasfpn_runtime.errors import DocumentError, RecipeError
    from nasfpn_runtime.recipe.schema import build
    from search_space.errors import value_text
    from search_space.names import path_fault

    try:
        content = read_yaml(path)
    except DocumentError as error:
        raise RecipeError(f"cannot read ladder as YAML: {error}") from None
    file: _Ladder = build(_Ladder, content, "", str(path))

    def check(possible: bool, name: str, rule: str, value: object) -> None:
        if not possible:
            raise RecipeError(f"{name} must be {rule}, got {value_text(value)} (at {path})")

    count = len(file.rungs)
    check(1 <= count <= MOST_RUNGS, "the number of rungs", f"from 1 to {MOST_RUNGS}", count)
    check(2 <= file.factor <= MOST_FACTOR, "factor", f"from 2 to {MOST_FACTOR}", file.factor)
    recipes: dict[str, Recipe] = {}
    for number, rung in enumerate(file.rungs):
        place = f"rungs[{number}]"
        check(not path_fault(rung.name), f"{place}.name", path_fault(rung.name), rung.name)
        check(rung.name not in recipes, f"{place}.name", "another than those before", rung.name)
        recipe = _recipe(rung.recipe, rung.name, f"{place}.recipe", path, rung.set, overrides)
        stages = recipe.training.freeze_stages
        frozen = f"training.freeze_stages of {place}.recipe"
        check(rung.warm or not stages, frozen, "0 unless the rung has `warm: true`", stages)
        recipes[rung.name] = recipe
    reference = file.reference or _Reference()
    warm_ones = frozenset(rung.name for rung in file.rungs if rung.warm)
    check(bool(warm_ones) or file.reference is None, "reference", "absent without warm rungs", {})
    own, final = (
        None if given is None else _recipe(given, name, place, path, (), overrides)
        for given, name, place in (
            (reference.recipe, "reference", "reference.recipe"),
            (file.final, "final", "final"),
        )
    )
    genome = reference.genome and _located(reference.genome, path)
    return LadderPlan(path, recipes, file.factor, warm_ones, own, genome, final)


def _recipe(
    given: object,
    name: str,
    place: str,
    path: Path,
    own: Sequence[str],
    overrides: Sequence[str],
) -> Recipe:
    """Return a recipe of a file.

    Args:
        given: a shipped name, a file, or settings.
        name: name of a recipe whose settings have none.
        place: where it is in the file.
        path: the file.
        own: changes of its settings in the file.
        overrides: changes by the command line.
    """
    from nasfpn_runtime.errors import RecipeError
    from nasfpn_runtime.recipe.recipe import change, from_dict, load_recipe
    from search_space.errors import value_text

    if isinstance(given, Mapping):
        recipe = from_dict({"name": name, **given}, f"{place} of {path}")
    elif isinstance(given, str):
        try:
            recipe = load_recipe(_located(given, path))
        except RecipeError as error:
            raise RecipeError(f"cannot use {place} of {path}: {error}") from None
    else:
        rule = "the name of a recipe, a YAML file, or a mapping of sections"
        raise RecipeError(f"{place} must be {rule}, got {value_text(given)} (at {path})")
    recipe = change(recipe, own, f"{path}, set of {place.removesuffix('.recipe')}:")
    return change(recipe, overrides)


def _located(name: str, path: Path) -> str:
    """Return a file that a ladder file names, relative to its folder; a shipped name as it is."""
    named = Path(name)
    return str(path.parent / named) if named.suffix else name
