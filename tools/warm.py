"""Options of a warm start, and the reference that they describe."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.errors import UsageError
from tools.genomes import load_named
from tools.options import Options, add_flag, add_option, add_recipe

if TYPE_CHECKING:
    from controllers.reference import Making, Record, Reference, Trained
    from nasfpn_runtime.recipe.recipe import Recipe
    from search_space import Level

# Sections of a recipe that the weights of a network depend on.
NETWORK = ("model", "anchors", "box_code")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a warm start."""
    options = parser.add_argument_group("warm start")
    help = "train one reference first, and start each genome from its backbone, laterals and head"
    add_flag(options, "--warm-start", help)
    add_reference(options)
    help = "start each genome from a checkpoint instead, whose pyramid has the same levels"
    add_option(options, "--init", type=Path, metavar="CKPT", unset="none", help=help)
    add_flag(options, "--drop-head", "with --init: initialise the class predictions randomly")


def add_reference(options: Options) -> None:
    """Add the options of a reference that is trained."""
    help = "genome of the reference: a shipped name or a JSON file"
    unset = "fpn with the levels of the space"
    add_option(options, "--reference", metavar="GENOME", unset=unset, help=help)
    unset = "that of the genomes, for 8 times as many epochs"
    add_recipe(options, "--reference-recipe", of="the reference", unset=unset)


def chosen(args: argparse.Namespace, recipe: Recipe, levels: Sequence[Level]) -> Reference | None:
    """Return the reference that a command line describes; None for genomes from scratch.

    Args:
        args: parsed options of :func:`add_arguments`.
        recipe: that of the candidates.
        levels: those of the space.

    Raises:
        UserError: options exclude or need each other, or the reference has other levels or
            another network than the candidates.
    """
    from controllers.reference import Given

    if args.init and args.warm_start:
        raise UsageError("--warm-start trains a reference and cannot be used with --init")
    if args.drop_head and not args.init:
        raise UsageError("--drop-head needs --init CKPT")
    for option in ("reference", "reference_recipe"):
        if getattr(args, option) and not args.warm_start:
            raise UsageError(f"--{option.replace('_', '-')} needs --warm-start")
    if args.init:
        return Given(args.init, args.drop_head)
    if args.warm_start:
        return trained(args, [recipe], levels)
    if recipe.training.freeze_stages:
        raise UsageError(
            f"training.freeze_stages must be 0 unless weights are loaded, got "
            f"{recipe.training.freeze_stages}; give --warm-start or --init CKPT"
        )
    return None


def trained(
    args: argparse.Namespace, recipes: Sequence[Recipe], levels: Sequence[Level]
) -> Trained:
    """Return the reference to train that a command line describes.

    Args:
        args: parsed options of :func:`add_reference`.
        recipes: those of the candidates.
        levels: those of the space.

    Raises:
        UserError: it has other levels or another network than the candidates.
    """
    from nasfpn_runtime.recipe.recipe import load_recipe

    own = load_recipe(args.reference_recipe) if args.reference_recipe else None
    return reference_of(args.reference, own, recipes, levels)


def reference_of(
    genome: str | None,
    own: Recipe | None,
    recipes: Sequence[Recipe],
    levels: Sequence[Level],
    names: tuple[str, str] = ("--reference", "--reference-recipe"),
) -> Trained:
    """Return the reference to train with a genome and a recipe.

    Args:
        genome: a shipped name or a file; None for fpn with the levels of the space.
        own: its recipe; None for the first of ``recipes``, for more epochs.
        recipes: those of the candidates.
        levels: those of the space.
        names: how messages name the genome and the recipe.

    Raises:
        UserError: it has other levels or another network than the candidates.
    """
    from controllers.reference import Trained, longer, top_down
    from nasfpn_runtime.recipe.recipe import from_dict

    loaded = load_named(genome)[1] if genome else top_down(levels)
    if loaded.levels != tuple(levels):
        wanted, given = (f"{low}-{high}" for low, high in _ends(levels, loaded.levels))
        raise UsageError(
            f"the levels of {names[0]} must be those of the space, {wanted}, got {given} (at "
            f"{genome}); without it, it is fpn with these levels"
        )
    if own is None:
        own = from_dict(longer(recipes[0].to_dict()), "the recipe of the reference")
    for recipe in recipes:
        _check_network(recipe, own, names[1])
    return Trained(loaded, own.to_dict())


def _ends(*levels: Sequence[int]) -> list[tuple[int, int]]:
    return [(int(some[0]), int(some[-1])) for some in levels]


def _check_network(recipe: Recipe, reference: Recipe, name: str) -> None:
    """Check that the weights of a reference, whose recipe has this name, fit candidates.

    Raises:
        UsageError: they are for other networks; the message names the first setting.
    """
    for section in NETWORK:
        one, other = (asdict(getattr(of, section)) for of in (recipe, reference))
        for key, value in one.items():
            if value != other[key]:
                raise UsageError(
                    f"{section}.{key} of {name} must be {value} as in {recipe.name}, "
                    f"got {other[key]} (at {reference.name})"
                )
    if recipe.data.reading != reference.data.reading:
        raise UsageError(f"{name} must read the data as {recipe.name} does (data.reading)")


def make_ready(
    reference: Reference,
    out: Path,
    record: Record,
    arguments: Mapping[str, Any],
    *,
    begun: bool,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Return what candidates get as ``init``, see ``reference.ready``; say what is done.

    Args:
        timeout: limit of a candidate; the reference has as much for each of its epochs.
    """
    from controllers.reference import Making, Trained, ready

    if not isinstance(reference, Trained):
        return ready(reference, out, record, Making(arguments), begun=begun)
    epochs = reference.recipe["training"]["epochs"]
    if timeout is not None:
        timeout *= max(1, epochs / arguments["recipe"]["training"]["epochs"])
    with _shown(arguments, epochs, timeout) as making:
        return ready(reference, out, record, making, begun=begun)


@contextmanager
def _shown(arguments: Mapping[str, Any], epochs: int, timeout: float | None) -> Iterator[Making]:
    """Yield what trains a reference and shows its epochs on standard error."""
    from controllers.reference import Making
    from nasfpn_runtime.progress import Progress, say

    bars: list[Progress] = []

    def watch(report: Mapping[str, Any]) -> None:
        if not bars:
            bars.append(Progress("reference", "epoch", epochs))
        if (more := report.get("epoch", 0) - bars[0].done) > 0:
            loss = report.get("loss")
            bars[0].advance(more, "" if loss is None else f"loss {loss:.3f}")
        if bars[0].done >= epochs:  # before the line about its score
            bars[0].__exit__()

    try:
        yield Making(arguments, timeout, say, watch)
    finally:
        for bar in bars:
            bar.__exit__()
