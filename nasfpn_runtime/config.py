"""Recipes: everything a training run depends on besides genome, data and seed.

A recipe is a YAML file with one mapping per section below. What it leaves out has the
default written here, which is that of tensorflow/tpu models/official/detection at 7dc921f
(configs/retinanet_config.py, base_config.py) wherever that has the setting.
"""

from __future__ import annotations

import contextlib
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from nasfpn_runtime.anchors import anchor_grid
from nasfpn_runtime.boxes import Boxes
from nasfpn_runtime.data.augment import Augment
from nasfpn_runtime.data.image import FIT_MODES, fit_size
from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.semantics import PRESETS, Semantics
from search_space.shape import DetectorShape

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Model:
    """Sizes of the network and the numerics it follows.

    Attributes:
        semantics: a name of ``semantics.PRESETS``.
        norm_momentum: share of old batch-norm statistics kept at a step; None for the
            value of the semantics, which suits runs of many thousand steps.
        backbone, width, channels, stacks, head_convs: see ``DetectorShape``.
    """

    semantics: str = "tf"
    norm_momentum: float | None = None
    backbone: str = "resnet50"
    width: int = 64
    channels: int = 256
    stacks: int = 7
    head_convs: int = 4

    def __post_init__(self) -> None:
        if self.semantics not in PRESETS:
            raise RecipeError(f"semantics is one of {', '.join(PRESETS)}, got {self.semantics!r}")
        _check(self, "norm_momentum", lambda v: v is None or 0 <= v < 1, "from 0 to below 1")
        try:
            DetectorShape(self.backbone, self.width, self.channels, self.stacks, self.head_convs)
        except ValueError as error:
            raise RecipeError(str(error)) from None

    def resolved_semantics(self) -> Semantics:
        """Return the numerics with this recipe's batch-norm momentum."""
        preset = PRESETS[self.semantics]
        if self.norm_momentum is None:
            return preset
        return replace(preset, norm_momentum=self.norm_momentum)


@dataclass(frozen=True)
class Anchors:
    """See ``anchors.anchor_grid``: side of the smallest square anchor in strides, and shapes."""

    scale: float = 4.0
    octaves: int = 3
    ratios: tuple[float, ...] = (1.0, 2.0, 0.5)

    def __post_init__(self) -> None:
        _check(self, "scale", lambda v: v > 0, "above 0")
        _check(self, "octaves", lambda v: v > 0, "above 0")
        _check(self, "ratios", lambda v: v and all(r > 0 for r in v), "one or more above 0")


@dataclass(frozen=True)
class Data:
    """Size of the network's input (height, width), how pictures are fitted, what is varied."""

    image: tuple[int, int] = (640, 640)
    fit: str = "letterbox"
    augment: Augment = field(default_factory=lambda: Augment(hflip=0.5, scale=(0.8, 1.2)))

    def __post_init__(self) -> None:
        _check(self, "image", lambda v: len(v) == 2 and min(v) > 0, "(height, width) above 0")
        _check(self, "fit", lambda v: v in FIT_MODES, f"one of {', '.join(FIT_MODES)}")


@dataclass(frozen=True)
class Matching:
    """IoU from which an anchor is positive, and below which it is background."""

    positive: float = 0.5
    negative: float = 0.5

    def __post_init__(self) -> None:
        _check(self, "positive", lambda v: 0 < v <= 1, "above 0, at most 1")
        _check(self, "negative", lambda v: 0 <= v <= self.positive, "from 0 to positive")


@dataclass(frozen=True)
class Loss:
    """See ``losses.DetectionLoss``."""

    alpha: float = 0.25
    gamma: float = 1.5
    huber_delta: float = 0.1
    box_weight: float = 50.0

    def __post_init__(self) -> None:
        _check(self, "alpha", lambda v: 0 < v < 1, "between 0 and 1")
        _check(self, "gamma", lambda v: v >= 0, "0 or more")
        _check(self, "huber_delta", lambda v: v > 0, "above 0")
        _check(self, "box_weight", lambda v: v > 0, "above 0")


@dataclass(frozen=True)
class Training:
    """Length, optimiser and housekeeping of a run.

    Attributes:
        epochs, batch: passes over the data, pictures per step.
        schedule: ``cosine`` to 0, or ``step`` by a tenth at two thirds and eight ninths.
        lr: learning rate after warm-up.
        warmup_epochs: linear from a twelfth of ``lr``.
        momentum, weight_decay: SGD; decay on convolution kernels only.
        clip: largest global gradient norm, None for no clipping.
        evaluate_every, save_every: in epochs; 0 for only after the last one.
    """

    epochs: int = 50
    batch: int = 64
    schedule: str = "step"
    lr: float = 0.08
    warmup_epochs: float = 0.3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip: float | None = None
    evaluate_every: int = 1
    save_every: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "lr"):
            _check(self, name, lambda v: v > 0, "above 0")
        for name in ("warmup_epochs", "weight_decay", "evaluate_every", "save_every"):
            _check(self, name, lambda v: v >= 0, "0 or more")
        _check(self, "schedule", lambda v: v in ("cosine", "step"), "cosine or step")
        _check(self, "momentum", lambda v: 0 <= v < 1, "from 0 to below 1")
        _check(self, "clip", lambda v: v is None or v > 0, "above 0 or null")


@dataclass(frozen=True)
class Detection:
    """See ``postprocess.detections``."""

    score: float = 0.05
    iou: float = 0.5
    pre_nms: int = 5000
    maximum: int = 100

    def __post_init__(self) -> None:
        for name in ("score", "iou"):
            _check(self, name, lambda v: 0 <= v <= 1, "from 0 to 1")
        for name in ("pre_nms", "maximum"):
            _check(self, name, lambda v: v > 0, "above 0")


@dataclass(frozen=True)
class Recipe:
    """A whole recipe; ``name`` is the file's stem."""

    name: str
    description: str = ""
    model: Model = field(default_factory=Model)
    anchors: Anchors = field(default_factory=Anchors)
    data: Data = field(default_factory=Data)
    matching: Matching = field(default_factory=Matching)
    loss: Loss = field(default_factory=Loss)
    training: Training = field(default_factory=Training)
    detection: Detection = field(default_factory=Detection)

    def shape(self, categories: int, levels: Sequence[int]) -> DetectorShape:
        """Return the sizes of the detector for so many categories and a genome's levels."""
        model = self.model
        background = model.resolved_semantics().background
        return DetectorShape(
            model.backbone,
            model.width,
            model.channels,
            model.stacks,
            model.head_convs,
            classes=categories + background,
            anchors=self.anchors.octaves * len(self.anchors.ratios),
            image=self.image_size(levels),
        )

    def image_size(self, levels: Sequence[int]) -> tuple[int, int]:
        """Return (height, width) of the network's input for a genome's levels."""
        return fit_size(self.data.image, 1 << max(levels))

    def anchor_boxes(self, levels: Sequence[int]) -> Boxes:
        """Return the anchors of an input of :meth:`image_size` (see ``anchor_grid``)."""
        anchors = self.anchors
        return anchor_grid(
            levels, self.image_size(levels), anchors.scale, anchors.octaves, anchors.ratios
        )

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
        RecipeError: no such recipe, not YAML, an unknown key, or a value of another type or
            out of range; the message names the key.
    """
    path = Path(name)
    if str(name) in names():
        path = RECIPES / f"{name}.yaml"
    elif path.suffix not in (".yaml", ".yml"):
        raise RecipeError(
            f"no recipe {str(name)!r}{_nearest(str(name), names())}; shipped: "
            f"{', '.join(names())}; or give a .yaml file"
        )
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"a recipe is a readable YAML file, got {error} (at {path})") from None
    if not isinstance(content, dict):
        raise RecipeError(f"a recipe is a mapping of sections, got {content!r} (at {path})")
    content = {"name": path.stem, **content}
    for override in overrides:
        _override(content, override)
    return from_dict(content, str(path))


def from_dict(content: Mapping[str, Any], place: str) -> Recipe:
    """Build a recipe from plain data; errors name ``place`` (see :func:`load_recipe`)."""
    recipe: Recipe = _build(Recipe, content, "", place)
    return recipe


def _override(content: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError(f"an override is section.key=value, got {text!r}")
    *sections, leaf = key.strip().split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise RecipeError(f"{section} is not a section (at --set {text})")
    try:
        content[leaf] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"an override's value is YAML, got {error} (at --set {text})") from None


def _build(cls: Any, content: object, path: str, place: str) -> Any:
    """Build dataclass ``cls`` from a mapping, checking keys and types at every depth."""
    if not isinstance(content, Mapping):
        raise RecipeError(f"{path or 'a recipe'} is a mapping, got {content!r} (at {place})")
    hints = typing.get_type_hints(cls)
    known = [f.name for f in fields(cls)]
    values: dict[str, Any] = {}
    for key, value in content.items():
        here = f"{path}.{key}" if path else str(key)
        if key not in known:
            raise RecipeError(f"unknown key {here}{_nearest(str(key), known)} (at {place})")
        values[key] = _convert(hints[key], value, here, place)
    try:
        return cls(**values)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error} (at {place})") from None


def _convert(kind: Any, value: object, path: str, place: str) -> Any:
    """Return ``value`` as type ``kind``: plain, tuple, section or optional."""
    if is_dataclass(kind):
        return _build(kind, value, path, place)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return None if value is None else _convert(options[0], value, path, place)
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        if not isinstance(value, (list, tuple)):
            raise RecipeError(f"{path} is a list, got {value!r} (at {place})")
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise RecipeError(f"{path} is a list of {len(inner)}, got {value!r} (at {place})")
        return tuple(_convert(inner[0], v, f"{path}[{i}]", place) for i, v in enumerate(value))
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):  # PyYAML reads 1e-4 as text
            return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RecipeError(f"{path} is of type {kind.__name__}, got {value!r} (at {place})")
    return value


def _check(section: Any, name: str, holds: typing.Callable[[Any], Any], rule: str) -> None:
    value = getattr(section, name)
    if not holds(value):
        raise RecipeError(f"{name} is {rule}, got {value!r}")


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f", did you mean {close[0]}?" if close else ""


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value
