"""The printed recipe: a comment for each setting, and the same recipe when it is read."""

from __future__ import annotations

import re
import tempfile
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.pictures.boxes import CLIPS, ORDERS
from nasfpn_runtime.pictures.crops import JITTERS
from nasfpn_runtime.pictures.image import FIT_MODES, INTERPOLATIONS
from nasfpn_runtime.recipe.describe import described, section_of, setting_comments
from nasfpn_runtime.recipe.dialects import DIALECTS
from nasfpn_runtime.recipe.recipe import Recipe, load_recipe, names
from nasfpn_runtime.recipe.settings import (
    CONTESTED,
    DECAYS,
    NORMALISERS,
    PAD_MODES,
    PRECISIONS,
    SCHEDULES,
)
from search_space.names import path_fault
from search_space.shape import BACKBONES

WARMUP = "training.warmup=[{start: 1e-5, stop: 0.5, steps: 3}, {start: 0.5, stop: 1, epochs: 0.25}]"


def read_back(recipe: Recipe) -> Recipe:
    """Return what ``load_recipe`` makes of a file with the printed recipe."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "another.yaml"
        path.write_text(described(recipe), encoding="utf-8")
        return load_recipe(path)


def sections(cls: Any) -> Iterator[Any]:
    """Yield a dataclass and, at every depth, those its settings are or may contain."""
    yield cls
    for kind in typing.get_type_hints(cls).values():
        inner = section_of(kind)
        if inner is not None:
            yield from sections(inner)


SECTIONS = list(sections(Recipe))


@pytest.mark.parametrize("name", names())
def test_a_shipped_recipe_is_read_back(name: str) -> None:
    recipe = load_recipe(name)
    again = read_back(recipe)
    assert again == recipe
    assert again.description == recipe.description


def test_optional_sections_and_lists_are_read_back() -> None:
    for overrides in (
        ["training.dropblock={keep: 0.8}"],
        ["training.warmup_epochs=0", WARMUP],
        ["training.milestones=[1, 2.5]", "data.augment.scale=[0.5, 1.5]", "anchors.ratios=[1]"],
        ["training.milestones=[]"],
        ["name='a: b # c'", "description='#'"],
    ):
        recipe = load_recipe("shapes", overrides)
        assert read_back(recipe) == recipe


# Values that may be accepted for a setting of each type, and some that are not.
NUMBERS = st.integers(0, 9) | st.floats(0, 10) | st.sampled_from([1e-9, 1e20, 0.1 + 0.2])
CHOICES_OF = {
    "model.dialect": DIALECTS,
    "model.backbone": BACKBONES,
    "box_code.order": ORDERS,
    "box_code.clip": CLIPS,
    "data.fit": FIT_MODES,
    "data.interpolation": INTERPOLATIONS,
    "data.pad": PAD_MODES,
    "data.augment.jitter": ("fitted", *JITTERS),
    "matching.contested": CONTESTED,
    "loss.normaliser": NORMALISERS,
    "training.schedule": SCHEDULES,
    "training.decay": DECAYS,
    "training.precision": PRECISIONS,
}
CHOICES = st.sampled_from([choice for choices in CHOICES_OF.values() for choice in choices])
VALUES = NUMBERS | CHOICES | st.booleans() | st.none() | st.lists(NUMBERS, max_size=3)
KEYS = [
    f"{section}.{key}"
    for section, values in load_recipe("shapes").to_dict().items()
    if isinstance(values, dict)
    for key in values
] + ["data.augment.hflip", "data.augment.scale", "data.augment.jitter", "training.dropblock.keep"]


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=3))
def test_random_overrides_are_read_back(changes: list[tuple[str, Any]]) -> None:
    overrides = [f"{key}={yaml.safe_dump(value, width=1e6)}" for key, value in changes]
    try:
        recipe = load_recipe("shapes", overrides)
    except RecipeError:
        return
    assert read_back(recipe) == recipe


TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \n\x85\u2028'\":#-é"))


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(
    TEXT.filter(lambda name: not path_fault(name)), TEXT | st.lists(TEXT, min_size=10).map(" ".join)
)
@example("a", "\x85")
@example("a", "word " * 50 + "end")
@example("é", "two  blanks " * 20)
def test_any_name_and_description_are_read_back(name: str, description: str) -> None:
    recipe = Recipe(name, description)
    again = read_back(recipe)
    assert (again.name, again.description) == (name, description)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda cls: cls.__name__)
def test_every_setting_has_a_description_and_every_description_a_setting(section: Any) -> None:
    comments = setting_comments(section)
    assert list(comments) == [entry.name for entry in fields(section)]
    for comment in comments.values():
        assert re.fullmatch(r"[A-Z`].{8,}\.", comment), comment
        assert "``" not in comment
        assert ":class:" not in comment


def test_every_section_is_reached() -> None:
    reached = {cls.__name__ for cls in SECTIONS}
    assert {"Recipe", "Model", "BoxCode", "Augment", "Ramp", "DropBlockSettings"} <= reached
    assert len(SECTIONS) == 12


def commented_keys(text: str) -> Iterator[str]:
    """Yield the path of each key of a YAML text; each must be right below a comment."""
    lines = text.splitlines()

    def walk(mapping: yaml.MappingNode, prefix: str) -> Iterator[str]:
        for key, value in mapping.value:
            above = lines[key.start_mark.line - 1]
            assert above.startswith(" " * key.start_mark.column + "# "), key.value
            yield prefix + key.value
            if isinstance(value, yaml.MappingNode):
                yield from walk(value, f"{prefix}{key.value}.")

    yield from walk(yaml.compose(text), "")


def paths(content: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the path of each key of nested mappings."""
    for key, value in content.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{key}.")


@pytest.mark.parametrize("name", names())
def test_every_setting_is_printed_below_its_comment(name: str) -> None:
    for overrides in ([], ["training.dropblock={}"]):
        recipe = load_recipe(name, overrides)
        keys = list(commented_keys(described(recipe)))
        assert keys == list(paths(recipe.to_dict()))


def test_a_missing_section_is_described_above() -> None:
    for overrides in ([], ["training.warmup_epochs=0", WARMUP]):
        text = described(load_recipe("shapes", overrides))
        above = text[: text.index("  warmup:")].rpartition("  warmup_epochs:")[2]
        for key in ("start", "stop", "epochs", "steps"):
            assert re.search(rf"^  #   {key}: [A-Z]", above, re.M)
        above = text[: text.index("  dropblock:")].rpartition("  ema:")[2]
        comment = " ".join(line.strip(" #") for line in above.splitlines())
        for key, default in (("keep", "0.9"), ("block", "3")):
            assert re.search(rf"\b{key}: [^:]+ Default: {re.escape(default)}\.", comment)


def test_lines_fit_a_page() -> None:
    for name in names():
        assert max(map(len, described(load_recipe(name)).splitlines())) <= 100


@pytest.mark.parametrize("key", CHOICES_OF)
def test_a_description_names_every_choice(key: str) -> None:
    *sections, leaf = key.split(".")
    owner: Any = load_recipe("shapes")
    for section in sections:
        owner = getattr(owner, section)
    for choice in CHOICES_OF[key]:
        assert f"`{choice}`" in setting_comments(type(owner))[leaf]


@dataclass(frozen=True)
class Example:
    """A class with all kinds of entries.

    Not an entry: this line.

    Attributes:
        one, two: share a
            description: of two lines.
        three: ``x`` or y.

    Raises:
        RecipeError: never.
    """

    one: int = 1
    two: int = 2
    three: str = "x"


def test_entries_may_share_a_description_and_have_several_lines() -> None:
    assert setting_comments(Example) == {
        "one": "Share a description: of two lines.",
        "two": "Share a description: of two lines.",
        "three": "`x` or y.",
    }
    assert setting_comments(int) == {}


def test_sections_are_found_in_types() -> None:
    assert section_of(Example) is Example
    assert section_of(Example | None) is Example
    assert section_of(tuple[Example, ...]) is Example
    for kind in (int, int | None, tuple[float, ...], tuple[int, int] | None):
        assert section_of(kind) is None
        assert not is_dataclass(kind)
