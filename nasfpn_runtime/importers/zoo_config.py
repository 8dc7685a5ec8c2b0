"""Read the settings of the model zoo and turn them into a recipe.

``zoo_keys.py`` has the table of all keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nasfpn_runtime.documents import parse_yaml, read_yaml
from nasfpn_runtime.errors import DocumentError, RecipeError
from nasfpn_runtime.importers.zoo_keys import COPIED, DERIVED, FIXED, MOVED, NOTHING, RECIPE
from nasfpn_runtime.recipe.recipe import Recipe, from_dict, load_recipe, option_of
from nasfpn_runtime.recipe.schema import kind_text
from search_space.errors import nearest, value_text

Values = Mapping[str, Any]

KEYS = {**COPIED, **DERIVED, **FIXED, **MOVED, **NOTHING}
DEVICES = ("Ascend", "CPU")
LEVELS = range(5)
SIZES = 3  # anchor sizes within a doubling (src/box_utils.py)

# Learning rates at which phases 2 to 5 of the warm-up start (phase 1 starts at lr_init), and the
# fractions of lr at which phases 1 to 5 stop. Phase 1 aims at a third of the start of phase 2 if lr
# is 0.1 (src/lr_schedule.py).
STARTS = (1e-5, 1e-4, 1e-3, 1e-2)
STOPS = (1e-4 / 3, 1e-3, 1e-2, 1e-1, 1.0)


def read_values(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the value of every key; a key that the file lacks is as in default_config.yaml.

    Args:
        path: a file like default_config.yaml. Its first document has the settings, further
            ones have help texts.
        overrides: ``key=value``, the value in YAML.

    Raises:
        RecipeError: the file is missing or is not YAML, a key is unknown, or a value has the
            wrong type.
    """
    try:
        content = read_yaml(path, first=True)
    except DocumentError as error:
        raise _unreadable(error) from None
    if not isinstance(content, dict):
        raise RecipeError(f"settings must be a mapping, got {value_text(content)} (at {path})")
    values = {key: default for key, (default, _) in KEYS.items()}
    for key, value in content.items():
        _set(values, key, value, str(path))
    for text in overrides:
        key, equals, written = text.partition("=")
        if not equals:
            raise RecipeError(f"an override must be key=value, got {value_text(text)}")
        try:
            value = parse_yaml(written, option_of(text))
        except DocumentError as error:
            raise _unreadable(error) from None
        _set(values, key, value, option_of(text))
    return values


def import_values(
    values: Values, devices: int, where: str, overrides: Sequence[str] = ()
) -> Recipe:
    """Return the recipe that corresponds to settings on a number of devices.

    Args:
        values: of all keys; see :func:`read_values`.
        devices: the number of devices; ``batch_size`` is for each of them.
        where: what to name in an error about a value that no override has set.
        overrides: as for :func:`read_values`, to name the one that set a wrong value.

    Raises:
        RecipeError: a value is out of range, or has no equivalent here.
    """
    origins = {key: where for key in values}
    origins |= {text.partition("=")[0]: option_of(text) for text in overrides}
    if devices < 1:
        raise RecipeError(f"devices must be 1 or more, got {devices}")
    for key, holds, rule in RULES:
        if not holds(values[key]):
            raise RecipeError(
                f"{key} must be {rule}, got {value_text(values[key])} (at {origins[key]})"
            )
    for key, (default, why) in FIXED.items():
        expected = EXPECTED[key](values) if key in EXPECTED else default
        if values[key] != expected:
            raise RecipeError(
                f"{key} must be {expected} ({why}), got {value_text(values[key])} "
                f"(at {origins[key]})"
            )
    return _build_recipe(values, devices, origins)


def _build_recipe(values: Values, devices: int, origins: Mapping[str, str]) -> Recipe:
    base = load_recipe(RECIPE)
    settings = list(_settings(values, devices))

    def build(count: int) -> Recipe:
        """Return the recipe with the first ``count`` settings."""
        content = base.to_dict()
        for _, changes in settings[:count]:
            for path, value in changes.items():
                section, name = path.split(".")
                content[section][name] = value
        return from_dict(content, origins[settings[count - 1][0]])

    try:
        return build(len(settings))
    except RecipeError:
        for count, (key, _) in enumerate(settings, 1):  # the first to fail has the wrong key
            try:
                build(count)
            except RecipeError as error:
                raise RecipeError(f"{key}: {error}") from None
        raise


def _settings(values: Values, devices: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each key with the settings of the recipe that it determines, by path."""
    for key, (_, path) in COPIED.items():
        yield key, {path: values[key]}
    overlap = values["match_thershold"]
    yield "match_thershold", {"matching.positive": overlap, "matching.negative": overlap}
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
    """Return the phases of the warm-up that have epochs, as ``training.warmup``."""
    epochs = [values[f"warmup_epochs{phase}"] for phase in range(1, len(STOPS) + 1)]
    starts = (values["lr_init"], *STARTS)
    return [
        # Rounded to 15 digits, so that 1e-6 / 0.1 is exactly 1e-5.
        {"start": float(f"{start / values['lr']:.15g}"), "stop": stop, "epochs": count}
        for start, stop, count in zip(starts, STOPS, epochs, strict=True)
        if count
    ]


def _is_input_size(image: list[int]) -> bool:
    # Multiples of the coarsest stride. The model zoo reads the two sides as (width, height) in
    # training and as (height, width) in evaluation (src/dataset.py): only squares are unambiguous.
    return len(image) == 2 and image[0] == image[1] and image[0] % 128 == 0


def _are_equal(ratios: list[list[float]]) -> bool:
    return len(ratios) == len(LEVELS) and all(row == ratios[0] for row in ratios)


def _are_doubling(sizes: list[float]) -> bool:
    return sizes == [sizes[0] * 2**level for level in LEVELS]


def _starts_with_background(names: list[str]) -> bool:
    return names[0] == "background"


def _is_positive(number: float) -> bool:
    return number > 0


def _is_not_negative(number: float) -> bool:
    return number >= 0


# Rules for values: key, condition, and what the value must be.
RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("img_shape", _is_input_size, "two equal multiples of 128"),
    ("aspect_ratios", _are_equal, "five equal lists"),
    ("anchor_size", _are_doubling, "five sizes, each twice the previous one"),
    ("coco_classes", _starts_with_background, "a list that starts with background"),
    ("lr", _is_positive, "above 0"),
    *((f"warmup_epochs{n}", _is_not_negative, "0 or more") for n in range(1, len(STOPS) + 1)),
    ("keep_checkpoint_max", _is_positive, "1 or more"),
    ("save_checkpoint_epochs", _is_positive, "1 or more"),
    ("device_target", lambda name: name in DEVICES, f"one of {', '.join(DEVICES)}"),
)

# The only possible values of FIXED keys, for those that depend on other keys.
EXPECTED: dict[str, Callable[[Values], object]] = {
    "feature_size": lambda v: [v["img_shape"][0] // step for step in v["steps"]],
    "num_default": lambda v: [SIZES * len(ratios) for ratios in v["aspect_ratios"]],
    "num_retinanet_boxes": lambda v: sum(
        side**2 * count for side, count in zip(v["feature_size"], v["num_default"], strict=True)
    ),
    "extras_out_channels": lambda v: [v["nasfpn_out_channel"]] * len(LEVELS),
    "num_classes": lambda v: len(v["coco_classes"]),
}


def _set(values: dict[str, Any], key: object, value: object, where: str) -> None:
    if key not in values:
        raise RecipeError(f"unknown key {key}{nearest(str(key), values)} (at {where})")
    values[str(key)] = _typed(str(key), value, KEYS[str(key)][0], where)


def _typed(key: str, value: object, like: object, where: str) -> object:
    """Return ``value`` with the type of ``like``; items of a list, with that of its first item."""
    if isinstance(like, list) and isinstance(value, list) and value:
        return [_typed(f"{key}[{i}]", item, like[0], where) for i, item in enumerate(value)]
    if isinstance(like, float) and type(value) in (int, float, str):
        try:
            return float(str(value))  # PyYAML reads 1e-4 as text
        except ValueError:
            pass
    elif type(value) is type(like) and value != []:
        return value
    kind = "a list" if isinstance(like, list) else kind_text(type(like))
    raise RecipeError(f"{key} must be {kind}, got {value_text(value)} (at {where})")


def _unreadable(error: DocumentError) -> RecipeError:
    return RecipeError(f"cannot read the settings as YAML: {error}")
