"""What a deployed file says about itself: all that is needed to use it, as text inside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from nasfpn_runtime.errors import CheckpointError, RecipeError
from nasfpn_runtime.pictures.image import MEAN, STD
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.recipe.schema import build
from nasfpn_runtime.recipe.settings import Data, DetectionRule
from search_space.genome import Genome
from search_space.identity import genome_id

ENTRY = "nasfpn"
FORM = 1  # of the text


@dataclass(frozen=True)
class Description:
    """How to feed a detector and read its outputs.

    Attributes:
        names: of the classes, in the order of the scores.
        size: (height, width) of the input; the largest sides where they are not ``fixed``.
        fixed: every input has that size.
        levels: of the pyramid; sides are multiples of the coarsest's stride.
        anchors: of a place of a feature map; the order of boxes is level, row, column,
            anchor.
        data: how a picture becomes an input (``image.fit``, ``image.normalise``); its
            ``augment`` and ``image`` are of no meaning here.
        detection: the rule by which scores become detections.
        genome: its id.
        recipe: its name.
        precision: ``fp32`` or ``fp16``.
        suppressed: the outputs are detections already.
        batch: pictures that every run takes; None for any number.
        version: of the program that wrote it.
    """

    names: tuple[str, ...]
    size: tuple[int, int]
    fixed: bool
    levels: tuple[int, ...]
    anchors: int
    data: Data
    detection: DetectionRule
    genome: str
    recipe: str
    precision: str = "fp32"
    suppressed: bool = False
    batch: int | None = None
    version: str = ""

    @property
    def stride(self) -> int:
        """Of the coarsest level."""
        return 1 << max(self.levels)

    def to_json(self) -> str:
        """Return the text; whoever has no Python finds every number of the input in it."""
        content = asdict(self)
        for of_training in ("augment", "image"):
            content["data"].pop(of_training)
        return json.dumps({"form": FORM, **content, "mean": MEAN, "std": STD})


def describe(
    recipe: Recipe, genome: Genome, names: tuple[str, ...], size: tuple[int, int] | None = None
) -> Description:
    """Return the description of a checkpoint, which takes inputs of any size and number.

    Args:
        size: (height, width) of the input instead of the recipe's.
    """
    return Description(
        names=names,
        size=size or recipe.image_size(genome.levels),
        fixed=False,
        levels=tuple(map(int, genome.levels)),
        anchors=recipe.anchors.octaves * len(recipe.anchors.ratios),
        data=recipe.data,
        detection=recipe.detection,
        genome=genome_id(genome),
        recipe=recipe.name,
        version=_version(),
    )


def from_json(text: str, place: str) -> Description:
    """Read what :meth:`Description.to_json` wrote.

    Raises:
        CheckpointError: it is not that, or of a later form, or its pictures are normalised
            otherwise.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        form, mean, std = (content.pop(key) for key in ("form", "mean", "std"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{place} has a broken description: {error!r}") from None
    if form != FORM:
        raise CheckpointError(f"{place} has a description of form {form}, not {FORM}")
    if (mean, std) != (list(MEAN), list(STD)):
        raise CheckpointError(f"{place} normalises with {mean} and {std}, not {MEAN} and {STD}")
    try:
        found: Description = build(Description, content, "", place)
    except RecipeError as error:
        raise CheckpointError(f"{place} has a broken description: {error}") from None
    return found


def _version() -> str:
    try:
        return metadata.version("nasfpn")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "unknown"
