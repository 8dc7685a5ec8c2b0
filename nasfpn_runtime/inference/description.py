"""The description of a detector that exported files carry inside them, as JSON text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from nasfpn_runtime.documents import parse_json
from nasfpn_runtime.errors import CheckpointError, DocumentError, RecipeError
from nasfpn_runtime.inference.checksum import BLANK, KEY
from nasfpn_runtime.pictures.image import MEAN, STD
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.recipe.schema import build
from nasfpn_runtime.recipe.settings import Data, DetectionRule
from search_space.genome import Genome
from search_space.identity import genome_id

ENTRY = "nasfpn"
STRIDE = "stride"
FORM = 2  # version of the text; the first one had no checksum


@dataclass(frozen=True)
class Description:
    """All that is needed to feed a detector and to read its outputs.

    Attributes:
        names: names of the classes, in the order of the scores.
        size: (height, width) of the input, px; the maximum unless ``fixed``.
        fixed: whether every input must have exactly that size.
        levels: pyramid levels; sides of inputs are multiples of the coarsest level's stride.
        anchors: number of anchors at each position of a feature map. Boxes are ordered by
            level, row, column and anchor.
        data: how an image becomes an input (``image.fit``, ``image.normalise``). Its
            ``augment``, ``background`` and ``image`` are not used.
        detection: rule that turns scores into detections.
        genome: id of the genome.
        recipe: name of the recipe.
        precision: ``fp32`` or ``fp16``.
        suppressed: whether the outputs are detections already.
        batch: number of images that every run takes; None for any number.
        version: version of the program that wrote the description.
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
        """Stride of the coarsest level, px."""
        return 1 << max(self.levels)

    def entries(self) -> dict[str, str]:
        """Return the text entries to store in a file: the description, and ``stride`` alone.

        ``stride`` is a decimal number, for programs that do not read JSON: both sides of an
        input are multiples of it.
        """
        return {ENTRY: self.to_json(), STRIDE: str(self.stride)}

    def to_json(self) -> str:
        """Return the description as JSON text.

        It includes the mean and standard deviation of the input, for readers in other languages,
        and a blank checksum, see ``checksum.write_checksum``.
        """
        content = asdict(self)
        for unused in ("augment", "background", "image"):
            content["data"].pop(unused)
        return json.dumps({"form": FORM, KEY: BLANK, **content, "mean": MEAN, "std": STD})


def describe(
    recipe: Recipe, genome: Genome, names: tuple[str, ...], size: tuple[int, int] | None = None
) -> Description:
    """Return the description of a checkpoint, which takes any number of inputs of any size.

    Args:
        size: (height, width) of the input; None for the recipe's.
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


def from_json(text: str, where: str) -> tuple[Description, str | None]:
    """Return the description whose :meth:`Description.to_json` is ``text``, and its checksum.

    The checksum is None in files of the first form, which had none.

    Args:
        where: name of the file, for error messages.

    Raises:
        CheckpointError: the text is not a description, its form is newer, or it normalises
            images with another mean or standard deviation.
    """
    try:
        content: dict[str, Any] = parse_json(text, where)
        form, mean, std = (content.pop(key) for key in ("form", "mean", "std"))
        checksum = content.pop(KEY) if form == FORM else content.pop(KEY, None)
    except DocumentError as error:
        raise CheckpointError(f"{where} has a broken description: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{where} has a broken description: {error!r}") from None
    if form not in (1, FORM):
        raise CheckpointError(f"{where} has a description of form {form}, not 1 or {FORM}")
    if (mean, std) != (list(MEAN), list(STD)):
        raise CheckpointError(f"{where} normalises with {mean} and {std}, not {MEAN} and {STD}")
    try:
        description: Description = build(Description, content, "", where)
    except RecipeError as error:
        raise CheckpointError(f"{where} has a broken description: {error}") from None
    return description, checksum


def _version() -> str:
    try:
        return metadata.version("nasfpn")
    except metadata.PackageNotFoundError:  # run from a checkout without installation
        return "unknown"
