"""Recipes: everything a training run depends on besides genome, data and seed.

A recipe is a YAML file with one mapping per section of :class:`Recipe`. What it leaves out
has the default written here or in ``sections``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.pictures.anchors import anchor_grid, anchor_levels
from nasfpn_runtime.pictures.boxes import BoxCode, Boxes
from nasfpn_runtime.pictures.image import fit_size
from nasfpn_runtime.recipe.dialects import DIALECTS, Dialect
from nasfpn_runtime.recipe.schema import (
    YAML_ERRORS,
    build,
    check_and_build,
    nearest,
    one_line,
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
)
from search_space.shape import DetectorShape

RECIPES = Path(__file__).parent / "shipped"
# Old name of a setting -> its present name. Recipe files and checkpoints may have either.
RENAMED = {"model.semantics": "model.dialect"}


@dataclass(frozen=True)
class Model:
    """Sizes of the network and the numerics it follows.

    Attributes:
        dialect: a name of ``dialect.DIALECTS``.
        norm_momentum: share of old batch-norm statistics kept at a step; None for the
            value of the dialect, which suits runs of many thousand steps.
        norm_epsilon: added to the variance in every batch norm; None for the values of the
            dialect.
        categories: number of object categories where no data set says it.
        backbone, width, channels, stacks, head_convs: see ``DetectorShape``.
        separable: see ``Layers``; the "Lite" of NAS-FPNLite.
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
        if self.dialect not in DIALECTS:
            raise RecipeError(f"dialect is one of {', '.join(DIALECTS)}, got {self.dialect!r}")
        check(self, "norm_momentum", lambda v: v is None or 0 <= v < 1, "from 0 to below 1")
        check(self, "norm_epsilon", lambda v: v is None or v > 0, "above 0")
        check(self, "categories", lambda v: v > 0, "above 0")
        try:
            DetectorShape(self.backbone, self.width, self.channels, self.stacks, self.head_convs)
        except ValueError as error:
            raise RecipeError(str(error)) from None

    def resolved_dialect(self) -> Dialect:
        """Return the numerics with this recipe's layers and constants of batch norm."""
        dialect = DIALECTS[self.dialect]
        dialect = replace(dialect, layers=replace(dialect.layers, separable=self.separable))
        if self.norm_momentum is not None:
            dialect = replace(dialect, norm_momentum=self.norm_momentum)
        if (epsilon := self.norm_epsilon) is not None:
            dialect = replace(dialect, norm_epsilon=epsilon, backbone_epsilon=epsilon)
        return dialect


@dataclass(frozen=True)
class Recipe:
    """A whole recipe; ``name`` is the file's stem."""

    name: str
    description: str = ""
    model: Model = field(default_factory=Model)
    anchors: Anchors = field(default_factory=Anchors)
    box_code: BoxCode = field(default_factory=BoxCode)
    data: Data = field(default_factory=Data)
    matching: Matching = field(default_factory=Matching)
    loss: Loss = field(default_factory=Loss)
    training: Training = field(default_factory=Training)
    detection: DetectionRule = field(default_factory=DetectionRule)

    def shape(self, categories: int, levels: Sequence[int]) -> DetectorShape:
        """Return the sizes of the detector for so many categories and a genome's levels."""
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
        """Return (height, width) of the network's input for a genome's levels."""
        return fit_size(self.data.image, 1 << max(levels))

    def anchor_boxes(
        self,
        levels: Sequence[int],
        image: tuple[int, int] | None = None,
        *,
        normalised: bool = False,
    ) -> Boxes:
        """Return the anchors of an input, by default of :meth:`image_size` (``anchor_grid``)."""
        image = image or self.image_size(levels)
        return anchor_grid(levels, image, **asdict(self.anchors), normalised=normalised)

    def anchor_levels(
        self, levels: Sequence[int], image: tuple[int, int] | None = None
    ) -> NDArray[np.intp]:
        """Return the level of each of :meth:`anchor_boxes`."""
        per_cell = self.anchors.octaves * len(self.anchors.ratios)
        return anchor_levels(levels, image or self.image_size(levels), per_cell)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain lists, mappings and numbers; see :func:`from_dict`."""
        content: dict[str, Any] = plain(asdict(self))
        return content


def names() -> tuple[str, ...]:
    """Return the names of the shipped recipes."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe by name or a YAML file by path.

    Args:
        overrides: ``section.key=value``, the value in YAML.

    Raises:
        RecipeError: no such recipe, not YAML, an unknown or a missing key, or a value of another
            type or out of range; the message names the key and the file or override.
    """
    path = Path(name)
    if str(name) in names():
        path = RECIPES / f"{name}.yaml"
    elif path.suffix not in (".yaml", ".yml"):
        raise RecipeError(
            f"no recipe {str(name)!r}{nearest(str(name), names())}; shipped: "
            f"{', '.join(names())}; or give a .yaml file"
        )
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, *YAML_ERRORS) as error:
        raise RecipeError(
            f"a recipe is a readable YAML file, got {one_line(error)} (at {path})"
        ) from None
    if not isinstance(content, dict):
        raise RecipeError(f"a recipe is a mapping of sections, got {content!r} (at {path})")
    steps = [with_present_names({"name": path.stem, **content})]
    for text in overrides:
        steps.append(_overridden(steps[-1], text))
    try:
        recipe: Recipe = check_and_build(Recipe, steps[-1], "")
    except RecipeError as error:
        origins = (str(path), *map(option_of, overrides))
        faults = zip(origins, map(_fault, steps), strict=True)
        origin = next(origin for origin, fault in faults if fault == str(error))
        raise RecipeError(f"{error} (at {origin})") from None
    return recipe


def from_dict(content: Mapping[str, Any], where: str) -> Recipe:
    """Build a recipe from plain data; errors name ``where`` (see :func:`load_recipe`)."""
    recipe: Recipe = build(Recipe, with_present_names(content), "", where)
    return recipe


def with_present_names(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a recipe with the old names of settings replaced (``RENAMED``)."""
    current = dict(content)
    for old, new in RENAMED.items():
        (section, before), after = old.split("."), new.split(".")[1]
        inner = current.get(section)
        if isinstance(inner, Mapping) and before in inner and after not in inner:
            current[section] = {after if k == before else k: v for k, v in inner.items()}
    return current


def option_of(override: str) -> str:
    """Return how a message names an override of the command line."""
    return f"--set {' '.join(override.split())}"


def _overridden(content: dict[str, Any], text: str) -> dict[str, Any]:
    """Return ``content`` with the value of ``section.key=value``."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError(f"an override is section.key=value, got {text!r}")
    *sections, leaf = RENAMED.get(key.strip(), key.strip()).split(".")
    changed = part = dict(content)
    for section in sections:
        inner = part.get(section, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{section} is not a section (at {option_of(text)})")
        part[section] = dict(inner)
        part = part[section]
    try:
        part[leaf] = yaml.safe_load(value)
    except YAML_ERRORS as error:
        raise RecipeError(
            f"an override's value is YAML, got {one_line(error)} (at {option_of(text)})"
        ) from None
    return changed


def _fault(content: object) -> str:
    """Return what is wrong with a recipe's content, nothing if it is right."""
    try:
        check_and_build(Recipe, content, "")
    except RecipeError as error:
        return str(error)
    return ""
