"""Recipes: everything a training run depends on besides its genome, dataset and seed.

A recipe is a YAML file with a mapping for each section of :class:`Recipe`. Settings that it does
not mention have the defaults of their section, here or in ``recipe.settings``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.documents import parse_yaml, read_yaml
from nasfpn_runtime.errors import DocumentError, RecipeError
from nasfpn_runtime.pictures.anchors import anchor_grid, anchor_levels
from nasfpn_runtime.pictures.boxes import BoxCode, Boxes
from nasfpn_runtime.pictures.image import fit_size
from nasfpn_runtime.recipe.dialects import DIALECTS, Dialect
from nasfpn_runtime.recipe.schema import (
    build,
    check_and_build,
    plain,
)
from nasfpn_runtime.recipe.settings import (
    Anchors,
    Data,
    DetectionRule,
    Loss,
    Matching,
    Training,
    check,
    check_one_of,
)
from search_space.errors import nearest, value_text
from search_space.names import path_fault
from search_space.shape import DetectorShape

RECIPES = Path(__file__).parent / "shipped"
# Old name of a setting -> its present name. Files, overrides and checkpoints may have either.
RENAMED = {"model.semantics": "model.dialect"}


@dataclass(frozen=True)
class Model:
    """Sizes of the network, and the dialect whose numerics it follows.

    Attributes:
        dialect: implementation whose network numerics are used: ``tf``, ``mmdet`` or
            ``modelzoo``.
        norm_momentum: fraction of the old running statistics that batch norm keeps at each step;
            null for the value of the dialect, which suits runs of many thousand steps.
        norm_epsilon: number that every batch norm adds to the variance; null for the values of
            the dialect.
        categories: number of object categories where there is no dataset to count them.
        backbone: network that the feature maps come from: ``resnet10``, ``resnet18``,
            ``resnet34``, ``resnet50``, ``resnet101`` or ``mobilenetv2``.
        width: number of channels of the backbone's stem, which scales the whole backbone: 64 in
            a published ResNet, 32 in MobileNetV2.
        channels: number of channels of the pyramid.
        stacks: number of pyramids in a row.
        head_convs: number of 3x3 convolutions of each head before the predicting one.
        separable: if true, convolutions of pyramid and heads are depthwise separable, as in
            NAS-FPNLite; otherwise they are full convolutions.
    """

    dialect: str = "tf"
    norm_momentum: float | None = None
    norm_epsilon: float | None = None
    categories: int = 80
    backbone: str = "resnet50"
    width: int = 64
    channels: int = 256
    stacks: int = 7
    head_convs: int = 4
    separable: bool = False

    def __post_init__(self) -> None:
        check_one_of(self, "dialect", tuple(DIALECTS))
        check(self, "norm_momentum", lambda v: v is None or 0 <= v < 1, "from 0 to below 1")
        check(self, "norm_epsilon", lambda v: v is None or v > 0, "above 0")
        check(self, "categories", lambda v: v > 0, "above 0")
        try:
            DetectorShape(self.backbone, self.width, self.channels, self.stacks, self.head_convs)
        except ValueError as error:
            raise RecipeError(str(error)) from None

    def resolved_dialect(self) -> Dialect:
        """Return the dialect with this model's layers and constants of batch norm."""
        dialect = DIALECTS[self.dialect]
        dialect = replace(dialect, layers=replace(dialect.layers, separable=self.separable))
        if self.norm_momentum is not None:
            dialect = replace(dialect, norm_momentum=self.norm_momentum)
        if (epsilon := self.norm_epsilon) is not None:
            dialect = replace(dialect, norm_epsilon=epsilon, backbone_epsilon=epsilon)
        return dialect


@dataclass(frozen=True)
class Recipe:
    """A complete recipe.

    Attributes:
        name: name of the recipe; by default the stem of its file.
        description: what the recipe is for; it has no effect.
        model: sizes of the network, and the dialect whose numerics it follows.
        anchors: the anchors of each level.
        box_code: how four numbers describe a box relative to its anchor.
        data: how images become inputs of the network.
        matching: which anchors learn to predict which boxes.
        loss: the loss: focal loss of the classes plus weighted box loss.
        training: length, optimiser and bookkeeping of a run.
        detection: how scores and boxes become detections.
    """

    name: str
    description: str = field(default="", compare=False)  # another wording is not another recipe
    model: Model = field(default_factory=Model)
    anchors: Anchors = field(default_factory=Anchors)
    box_code: BoxCode = field(default_factory=BoxCode)
    data: Data = field(default_factory=Data)
    matching: Matching = field(default_factory=Matching)
    loss: Loss = field(default_factory=Loss)
    training: Training = field(default_factory=Training)
    detection: DetectionRule = field(default_factory=DetectionRule)

    def __post_init__(self) -> None:
        batch = self.training.batch
        if self.data.background and not 0 < self.backgrounds < batch:
            raise RecipeError(
                f"data.background must be 0, or a share with one image or more, but not all, of "
                f"the {batch:,} of training.batch, got {self.data.background:g}, which is "
                f"{self.backgrounds:,} images"
            )

    @property
    def backgrounds(self) -> int:
        """Number of images without boxes in each training batch."""
        return round(self.data.background * self.training.batch)

    def shape(self, categories: int, levels: Sequence[int]) -> DetectorShape:
        """Return the sizes of the detector.

        Args:
            categories: number of object categories, without a background.
            levels: pyramid levels of the genome.
        """
        model = self.model
        dialect = model.resolved_dialect()
        return DetectorShape(
            model.backbone,
            model.width,
            model.channels,
            model.stacks,
            model.head_convs,
            classes=categories + dialect.background,
            anchors=self.anchors.octaves * len(self.anchors.ratios),
            image=self.image_size(levels),
            layers=dialect.layers,
        )

    def image_size(self, levels: Sequence[int]) -> tuple[int, int]:
        """Return (height, width) of the network's input for the levels of a genome."""
        return fit_size(self.data.image, 1 << max(levels))

    def anchor_boxes(
        self,
        levels: Sequence[int],
        image: tuple[int, int] | None = None,
        *,
        normalised: bool = False,
    ) -> Boxes:
        """Return the anchors of an input, see ``anchors.anchor_grid``.

        Args:
            image: (height, width) of the input; by default that of :meth:`image_size`.
        """
        image = image or self.image_size(levels)
        return anchor_grid(levels, image, **asdict(self.anchors), normalised=normalised)

    def anchor_levels(
        self, levels: Sequence[int], image: tuple[int, int] | None = None
    ) -> NDArray[np.intp]:
        """Return (A,): the level of each anchor of :meth:`anchor_boxes`."""
        per_cell = self.anchors.octaves * len(self.anchors.ratios)
        return anchor_levels(levels, image or self.image_size(levels), per_cell)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as mappings, lists and numbers; :func:`from_dict` is the inverse."""
        content: dict[str, Any] = plain(asdict(self))
        return content


def names() -> tuple[str, ...]:
    """Return the names of the shipped recipes."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))


def load_recipe(name: str | Path, overrides: Sequence[str] = (), option: str = "--set") -> Recipe:
    """Read a shipped recipe by name, or a YAML file by path.

    Args:
        overrides: ``section.key=value`` each, with the value in YAML.
        option: the option that they were given with, for messages.

    Raises:
        RecipeError: there is no such recipe, it is not YAML, a key is unknown or missing, or a
            value is of another type or out of range. The message names the key and the file or
            the override.
    """
    path = Path(name)
    if str(name) in names():
        path = RECIPES / f"{name}.yaml"
    elif path.suffix not in (".yaml", ".yml"):
        raise RecipeError(
            f"a recipe must be a .yaml file or one of {', '.join(names())}, "
            f"got {str(name)!r}{nearest(str(name), names())}"
        )
    return _build(with_present_names(_read_file(path), str(path)), str(path), overrides, option)


def change(recipe: Recipe, overrides: Sequence[str], option: str = "--set") -> Recipe:
    """Return a recipe with some settings changed; see :func:`load_recipe`."""
    return _build(recipe.to_dict(), recipe.name, overrides, option)


def _build(content: Mapping[str, Any], where: str, overrides: Sequence[str], option: str) -> Recipe:
    """Build a recipe; see :func:`load_recipe`.

    Args:
        content: of the file.
        where: where it comes from, for messages.
    """
    # The content of the file, then the content after each override, with where it comes from.
    steps = [(dict(content), where)]
    for text in overrides:
        where = option_of(text, option)
        steps.append((_overridden(steps[-1][0], text, where), where))
    try:
        recipe: Recipe = check_and_build(Recipe, steps[-1][0], "")
    except RecipeError as error:
        # The first content with this fault tells which override, or the file, is to blame.
        where = next(where for content, where in steps if _fault(content) == str(error))
        raise RecipeError(f"{error} (at {where})") from None
    if fault := path_fault(recipe.name):  # run folders and checkpoints are named after it
        named = next(where for content, where in steps if content.get("name") == recipe.name)
        raise RecipeError(f"name must be {fault}, got {value_text(recipe.name)} (at {named})")
    return recipe


def from_dict(content: Mapping[str, Any], where: str) -> Recipe:
    """Build a recipe from what :meth:`Recipe.to_dict` returned; see :func:`load_recipe`.

    Args:
        where: where the content comes from, for messages.
    """
    recipe: Recipe = build(Recipe, with_present_names(content, where), "", where)
    return recipe


def with_present_names(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the content of a recipe with old names of settings (``RENAMED``) replaced.

    Args:
        where: where the content comes from, for messages.

    Raises:
        RecipeError: a setting is given by its old and its present name.
    """
    current = dict(content)
    for old, new in RENAMED.items():
        (section, before), (_, after) = old.split("."), new.split(".")
        settings = current.get(section)
        if not isinstance(settings, Mapping) or before not in settings:
            continue
        if after in settings:
            raise RecipeError(
                f"{new} must be given once, got {value_text(settings[after])} and, by its old "
                f"name {old}, {value_text(settings[before])} (at {where})"
            )
        current[section] = {after if key == before else key: v for key, v in settings.items()}
    return current


def option_of(override: str, option: str = "--set") -> str:
    """Return how a message names an override of the command line."""
    return f"{option} {' '.join(override.split())}"


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except DocumentError as error:
        raise RecipeError(f"cannot read recipe as YAML: {error}") from None
    if not isinstance(content, dict):
        raise RecipeError(
            f"recipe must be a mapping of sections, got {value_text(content)} (at {path})"
        )
    return {"name": path.stem, **content}


def _overridden(content: dict[str, Any], text: str, where: str) -> dict[str, Any]:
    """Return ``content`` changed by an override, ``section.key=value``."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError(f"override must be section.key=value, got {value_text(text)}")
    *sections, leaf = RENAMED.get(key.strip(), key.strip()).split(".")
    changed = part = dict(content)
    for section in sections:
        inner = part.get(section, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{section} is not a section (at {where})")
        part[section] = dict(inner)
        part = part[section]
    try:
        part[leaf] = parse_yaml(value, where)
    except DocumentError as error:
        raise RecipeError(f"cannot read value as YAML: {error}") from None
    return with_present_names(changed, where)


def _fault(content: object) -> str:
    """Return what is wrong with the content of a recipe, or an empty string if it is right."""
    try:
        check_and_build(Recipe, content, "")
    except RecipeError as error:
        return str(error)
    return ""
