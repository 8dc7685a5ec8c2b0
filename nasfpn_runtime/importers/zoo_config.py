"""Read the model zoo's settings as a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.importers.zoo_keys import COPIED, DERIVED, FIXED, MOVED, NOTHING, RECIPE
from nasfpn_runtime.recipe.recipe import Recipe, from_dict, load_recipe, option_of
from nasfpn_runtime.recipe.schema import YAML_ERRORS, nearest, one_line

Values = Mapping[str, Any]

KEYS = {**COPIED, **DERIVED, **FIXED, **MOVED, **NOTHING}
DEVICES = ("Ascend", "CPU")
LEVELS = range(5)
SIZES = 3  # of anchors within a doubling (src/box_utils.py)

# Where each phase of warm-up begins, as a rate but for the first, which lr_init says, and
# ends, as a share of lr; the first aims at a third of its end (src/lr_schedule.py).
STARTS = (1e-5, 1e-4, 1e-3, 1e-2)
STOPS = (1e-4 / 3, 1e-3, 1e-2, 1e-1, 1.0)


def read_values(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the value of every key; one that the file leaves out is as in default_config.yaml.

    Args:
        path: a file like default_config.yaml, whose first document has the settings and the
            others help texts.
        overrides: ``key=value``, the value in YAML.

    Raises:
        RecipeError: no such file, not YAML, an unknown key, or a value of another type.
    """
    try:
        content = next(yaml.safe_load_all(path.read_text()), None)
    except (OSError, *YAML_ERRORS) as error:
        raise _unreadable(error, str(path)) from None
    if not isinstance(content, dict):
        raise RecipeError(f"settings are a mapping, got {content!r} (at {path})")
    values = {key: default for key, (default, _) in KEYS.items()}
    for key, value in content.items():
        _put(values, key, value, str(path))
    for text in overrides:
        key, equals, written = text.partition("=")
        if not equals:
            raise RecipeError(f"an override is key=value, got {text!r}")
        try:
            value = yaml.safe_load(written)
        except YAML_ERRORS as error:
            raise _unreadable(error, option_of(text)) from None
        _put(values, key, value, option_of(text))
    return values


def import_values(
    values: Values, devices: int, place: str, overrides: Sequence[str] = ()
) -> Recipe:
    """Return the recipe that the values of :func:`read_values` are on so many cards.

    Raises:
        RecipeError: a value is out of range, or cannot be had here; the override that it is
            from is named, or ``place``.
    """
    places = {key: place for key in values}
    places |= {text.partition("=")[0]: option_of(text) for text in overrides}
    if devices < 1:
        raise RecipeError(f"devices are 1 or more, got {devices}")
    for key, holds, rule in RULES:
        if not holds(values[key]):
            raise RecipeError(f"{key} is {rule}, got {values[key]!r} (at {places[key]})")
    for key, (default, why) in FIXED.items():
        expected = EXPECTED[key](values) if key in EXPECTED else default
        if values[key] != expected:
            raise RecipeError(
                f"{key} is {expected} ({why}), got {values[key]!r} (at {places[key]})"
            )
    return _recipe(values, devices, places)


def _recipe(values: Values, devices: int, places: Mapping[str, str]) -> Recipe:
    base = load_recipe(RECIPE)
    settings = list(_settings(values, devices))

    def build(count: int) -> Recipe:
        content = base.to_dict()
        for _, changes in settings[:count]:
            for path, value in changes.items():
                section, name = path.split(".")
                content[section][name] = value
        return from_dict(content, places[settings[count - 1][0]])

    try:
        return build(len(settings))
    except RecipeError:
        for count, (key, _) in enumerate(settings, 1):  # to name the key
            try:
                build(count)
            except RecipeError as error:
                raise RecipeError(f"{key}: {error}") from None
        raise


def _settings(values: Values, devices: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield settings of a recipe by path, with the key that they are from."""
    for key, (_, path) in COPIED.items():
        yield key, {path: values[key]}
    share = values["match_thershold"]
    yield "match_thershold", {"matching.positive": share, "matching.negative": share}
    yield "lr_init", {"training.warmup": _warmup(values)}
    batch = values["batch_size"] * devices
    yield "batch_size", {DERIVED["batch_size"][1]: batch, "training.base_batch": batch}
    for key, value in (
        ("img_shape", values["img_shape"]),
        ("aspect_ratios", values["aspect_ratios"][0]),
        ("anchor_size", values["anchor_size"][0] / values["steps"][0]),
        ("coco_classes", len(values["coco_classes"]) - 1),
    ):
        yield key, {DERIVED[key][1]: value}


def _warmup(values: Values) -> list[dict[str, float]]:
    epochs = [values[f"warmup_epochs{phase}"] for phase in range(1, len(STOPS) + 1)]
    starts = (values["lr_init"], *STARTS)
    return [
        # To 15 digits, so that a rate of 1e-6 is 1e-5 of a rate of 0.1.
        {"start": float(f"{start / values['lr']:.15g}"), "stop": stop, "epochs": count}
        for start, stop, count in zip(starts, STOPS, epochs, strict=True)
        if count
    ]


def _square(image: list[int]) -> bool:
    # A multiple of the coarsest stride. It is (width, height) in training and (height, width)
    # in evaluation (src/dataset.py), so that only a square is meant.
    return len(image) == 2 and image[0] == image[1] and image[0] % 128 == 0


def _same(ratios: list[list[float]]) -> bool:
    return len(ratios) == len(LEVELS) and all(row == ratios[0] for row in ratios)


def _doubling(sizes: list[float]) -> bool:
    return sizes == [sizes[0] * 2**level for level in LEVELS]


def _background_first(names: list[str]) -> bool:
    return names[0] == "background"


def _positive(number: float) -> bool:
    return number > 0


def _not_negative(number: float) -> bool:
    return number >= 0


# What values have to be: key, condition, rule.
RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("img_shape", _square, "two equal multiples of 128"),
    ("aspect_ratios", _same, "the same five times"),
    ("anchor_size", _doubling, "five sizes, each twice the one before"),
    ("coco_classes", _background_first, "a list that begins with background"),
    ("lr", _positive, "above 0"),
    *((f"warmup_epochs{n}", _not_negative, "0 or more") for n in range(1, len(STOPS) + 1)),
    ("keep_checkpoint_max", _positive, "1 or more"),
    ("save_checkpoint_epochs", _positive, "1 or more"),
    ("device_target", lambda name: name in DEVICES, f"one of {', '.join(DEVICES)}"),
)

# What FIXED keys are where they follow from other keys.
EXPECTED: dict[str, Callable[[Values], object]] = {
    "feature_size": lambda v: [v["img_shape"][0] // step for step in v["steps"]],
    "num_default": lambda v: [SIZES * len(ratios) for ratios in v["aspect_ratios"]],
    "num_retinanet_boxes": lambda v: sum(
        side**2 * count for side, count in zip(v["feature_size"], v["num_default"], strict=True)
    ),
    "extras_out_channels": lambda v: [v["nasfpn_out_channel"]] * len(LEVELS),
    "num_classes": lambda v: len(v["coco_classes"]),
}


def _put(values: dict[str, Any], key: object, value: object, place: str) -> None:
    if key not in values:
        raise RecipeError(f"unknown key {key}{nearest(str(key), values)} (at {place})")
    values[str(key)] = _typed(str(key), value, KEYS[str(key)][0], place)


def _typed(key: str, value: object, like: object, place: str) -> object:
    """Return ``value`` with the types of ``like``, a list's those of its first item."""
    if isinstance(like, list) and isinstance(value, list) and value:
        return [_typed(f"{key}[{i}]", item, like[0], place) for i, item in enumerate(value)]
    if isinstance(like, float) and type(value) in (int, float, str):
        try:
            return float(str(value))  # PyYAML reads 1e-4 as text
        except ValueError:
            pass
    elif type(value) is type(like) and value != []:
        return value
    kind = "a list" if isinstance(like, list) else f"of type {type(like).__name__}"
    raise RecipeError(f"{key} is {kind}, got {value!r} (at {place})")


def _unreadable(error: Exception, place: str) -> RecipeError:
    return RecipeError(f"settings are readable YAML, got {one_line(error)} (at {place})")
