"""Recipes: everything a training run depends on besides genome, data and seed.

A recipe is a YAML file with one mapping per section of :class:`Recipe`. What it leaves out
has the default written here or in ``sections``.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import (
    MISSING,
    Field,
    asdict,
    dataclass,
    field,
    fields,
    is_dataclass,
    replace,
)
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from nasfpn_runtime.anchors import anchor_grid, anchor_levels
from nasfpn_runtime.boxes import BoxCode, Boxes
from nasfpn_runtime.data.image import fit_size
from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.sections import Anchors, Data, Detection, Loss, Matching, Training, check
from nasfpn_runtime.semantics import PRESETS, Semantics
from search_space.shape import DetectorShape

__all__ = [
    "RECIPES",
    "Anchors",
    "Data",
    "Detection",
    "Loss",
    "Matching",
    "Model",
    "Recipe",
    "Training",
    "from_dict",
    "load_recipe",
    "names",
    "nearest",
]

# What PyYAML raises: its own, and what its constructors leave through, as of !!int x.
YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Model:
    """Sizes of the network and the numerics it follows.

    Attributes:
        semantics: a name of ``semantics.PRESETS``.
        norm_momentum: share of old batch-norm statistics kept at a step; None for the
            value of the semantics, which suits runs of many thousand steps.
        norm_epsilon: added to the variance in every batch norm; None for the values of the
            semantics.
        categories: number of object categories where no data set says it.
        backbone, width, channels, stacks, head_convs: see ``DetectorShape``.
        separable: see ``Layers``; the "Lite" of NAS-FPNLite.
    """

    semantics: str = "tf"
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
        if self.semantics not in PRESETS:
            raise RecipeError(f"semantics is one of {', '.join(PRESETS)}, got {self.semantics!r}")
        check(self, "norm_momentum", lambda v: v is None or 0 <= v < 1, "from 0 to below 1")
        check(self, "norm_epsilon", lambda v: v is None or v > 0, "above 0")
        check(self, "categories", lambda v: v > 0, "above 0")
        try:
            DetectorShape(self.backbone, self.width, self.channels, self.stacks, self.head_convs)
        except ValueError as error:
            raise RecipeError(str(error)) from None

    def resolved_semantics(self) -> Semantics:
        """Return the numerics with this recipe's layers and constants of batch norm."""
        semantics = PRESETS[self.semantics]
        semantics = replace(semantics, layers=replace(semantics.layers, separable=self.separable))
        if self.norm_momentum is not None:
            semantics = replace(semantics, norm_momentum=self.norm_momentum)
        if (epsilon := self.norm_epsilon) is not None:
            semantics = replace(semantics, norm_epsilon=epsilon, backbone_epsilon=epsilon)
        return semantics


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
    detection: Detection = field(default_factory=Detection)

    def shape(self, categories: int, levels: Sequence[int]) -> DetectorShape:
        """Return the sizes of the detector for so many categories and a genome's levels."""
        model = self.model
        semantics = model.resolved_semantics()
        return DetectorShape(
            model.backbone,
            model.width,
            model.channels,
            model.stacks,
            model.head_convs,
            classes=categories + semantics.background,
            anchors=self.anchors.octaves * len(self.anchors.ratios),
            image=self.image_size(levels),
            layers=semantics.layers,
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
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


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
    steps = [{"name": path.stem, **content}]
    for text in overrides:
        steps.append(_overridden(steps[-1], text))
    try:
        recipe: Recipe = _build(Recipe, steps[-1], "")
    except RecipeError as error:
        places = (str(path), *map(place_of, overrides))
        faults = zip(places, map(_fault, steps), strict=True)
        place = next(place for place, fault in faults if fault == str(error))
        raise RecipeError(f"{error} (at {place})") from None
    return recipe


def from_dict(content: Mapping[str, Any], place: str) -> Recipe:
    """Build a recipe from plain data; errors name ``place`` (see :func:`load_recipe`)."""
    recipe: Recipe = build(Recipe, content, "", place)
    return recipe


def build(cls: Any, content: object, path: str, place: str) -> Any:
    """Build dataclass ``cls`` from a mapping, checking keys and types at every depth.

    Raises:
        RecipeError: the message has the key, after ``path``, and the place.
    """
    try:
        return _build(cls, content, path)
    except RecipeError as error:
        raise RecipeError(f"{error} (at {place})") from None


def one_line(error: Exception) -> str:
    """Return an error's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def place_of(override: str) -> str:
    """Return how a message names an override of the command line."""
    return f"--set {' '.join(override.split())}"


def _overridden(content: dict[str, Any], text: str) -> dict[str, Any]:
    """Return ``content`` with the value of ``section.key=value``."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError(f"an override is section.key=value, got {text!r}")
    *sections, leaf = key.strip().split(".")
    changed = part = dict(content)
    for section in sections:
        inner = part.get(section, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{section} is not a section (at {place_of(text)})")
        part[section] = dict(inner)
        part = part[section]
    try:
        part[leaf] = yaml.safe_load(value)
    except YAML_ERRORS as error:
        raise RecipeError(
            f"an override's value is YAML, got {one_line(error)} (at {place_of(text)})"
        ) from None
    return changed


def _fault(content: object) -> str:
    """Return what is wrong with a recipe's content, nothing if it is right."""
    try:
        _build(Recipe, content, "")
    except RecipeError as error:
        return str(error)
    return ""


def _build(cls: Any, content: object, path: str) -> Any:
    """:func:`build`, but the messages lack the place."""
    whole = path or f"a {cls.__name__.lower()}"
    if not isinstance(content, Mapping):
        raise RecipeError(f"{whole} is a mapping, got {content!r}")
    hints = typing.get_type_hints(cls)
    known = [f.name for f in fields(cls)]
    values: dict[str, Any] = {}
    for key, value in content.items():
        here = f"{path}.{key}" if path else str(key)
        if key not in known:
            raise RecipeError(f"unknown key {here}{nearest(str(key), known)}")
        values[key] = _convert(hints[key], value, here)
    missing = [f.name for f in fields(cls) if f.name not in values and _required(f)]
    if missing:
        raise RecipeError(f"{whole} needs {', '.join(missing)}, got {content!r}")
    try:
        return cls(**values)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def _required(entry: Field[Any]) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the one it may stand for, if any."""
    close = difflib.get_close_matches(name, known, 1)
    return f", did you mean {close[0]}?" if close else ""


def _convert(kind: Any, value: object, path: str) -> Any:
    """Return ``value`` as type ``kind``: plain, tuple, section or optional."""
    if is_dataclass(kind):
        return _build(kind, value, path)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return None if value is None else _convert(options[0], value, path)
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        if not isinstance(value, (list, tuple)):
            raise RecipeError(f"{path} is a list, got {value!r}")
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise RecipeError(f"{path} is a list of {len(inner)}, got {value!r}")
        return tuple(_convert(inner[0], v, f"{path}[{i}]") for i, v in enumerate(value))
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):  # PyYAML reads 1e-4 as text
            value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RecipeError(f"{path} is of type {kind.__name__}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{path} is a finite number, got {value!r}")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value
