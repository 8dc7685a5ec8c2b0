"""Recipes: files and overrides, round trips, old names of settings, messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.pictures.boxes import BoxCode
from nasfpn_runtime.recipe.recipe import (
    RECIPES,
    RENAMED,
    Recipe,
    from_dict,
    load_recipe,
    names,
    with_present_names,
)
from nasfpn_runtime.recipe.settings import Anchors, DetectionRule, Loss, Matching


@pytest.mark.parametrize("name", names())
def test_a_shipped_recipe_is_the_same_after_a_round_trip(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    again = from_dict(recipe.to_dict(), "test")
    assert again == recipe
    assert again.description == recipe.description


def test_all_files_are_shipped_recipes() -> None:
    assert {path.name for path in RECIPES.iterdir()} == {f"{name}.yaml" for name in names()}


def test_the_defaults_are_tfs() -> None:
    # Other defaults suit training from scratch; the recipe sets them to TF's values.
    recipe = load_recipe("tf-r50-7x256-640")
    assert (recipe.anchors, recipe.box_code) == (Anchors(), BoxCode())
    assert (recipe.loss, recipe.detection) == (Loss(), DetectionRule())
    assert replace(recipe.matching, contested="higher") == Matching()


def test_another_description_is_no_other_recipe() -> None:
    recipe = load_recipe("shapes")
    assert replace(recipe, description="in other words") == recipe
    assert replace(recipe, name="other") != recipe


def test_overrides_reach_every_depth_and_the_last_one_wins() -> None:
    recipe = load_recipe(
        "shapes",
        [
            "training.epochs=5",
            "training.epochs=3",
            "data.augment.hflip=0",
            "data.image=[256, 128]",
            "training.clip=null",
        ],
    )
    assert recipe.training.epochs == 3
    assert recipe.data.augment.hflip == 0.0
    assert recipe.data.image == (256, 128)
    assert recipe.training.clip is None
    assert recipe.training.batch == load_recipe("shapes").training.batch


RAMPS = "training.warmup=[{start: 0, stop: 1, steps: 1}]"


@pytest.mark.parametrize(
    ("overrides", "place"),
    [
        # Wrong on its own, but corrected by a later override.
        ([RAMPS, "training.warmup_epochs=0", "training.lr=-1"], "--set training.lr=-1"),
        (["training.lr=-1", "training.lr=1", "training.clip=0"], "--set training.clip=0"),
        # Wrong only together with the one before.
        (["matching.positive=0.3", "matching.negative=0.35"], "--set matching.negative=0.35"),
        (["training.keep=1"], "mine.yaml"),
        ([], "mine.yaml"),
    ],
)
def test_the_place_of_a_mistake_is_where_it_was_made(
    tmp_path: Path, overrides: list[str], place: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training: {epochs: 3}\n" if "--set" in place else "training: {epochs: a}\n")
    with pytest.raises(RecipeError, match=rf"\(at .*{re.escape(place)}\)$"):
        load_recipe(path, overrides)


OLD = {"model": {"semantics": "mmdet", "stacks": 3}}  # as files and checkpoints had it


def test_old_names_are_read_in_files_overrides_and_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(OLD))
    recipe = load_recipe(path)
    assert (recipe.model.dialect, recipe.model.stacks) == ("mmdet", 3)
    assert load_recipe(path, ["model.semantics=modelzoo"]).model.dialect == "modelzoo"
    assert load_recipe(path, ["model.dialect=tf"]).model.dialect == "tf"
    assert load_recipe("shapes", ["model={semantics: mmdet}"]).model.dialect == "mmdet"
    assert from_dict({"name": "mine", **OLD}, "a checkpoint") == recipe
    assert "semantics" not in recipe.to_dict()["model"]


def test_old_names_keep_the_order_and_the_values() -> None:
    assert list(with_present_names(OLD, "here")["model"].items()) == [
        ("dialect", "mmdet"),
        ("stacks", 3),
    ]
    assert OLD["model"]["semantics"] == "mmdet"  # the argument stays as it was
    known = load_recipe("shapes").to_dict()
    for old, new in RENAMED.items():
        section, key = new.split(".")
        assert key in known[section]
        assert old.split(".")[1] not in known[section]


def test_a_setting_by_its_old_and_its_present_name_is_an_error(tmp_path: Path) -> None:
    both = {"model": {"semantics": "mmdet", "dialect": "tf"}}
    message = r"model\.dialect .*'tf'.* model\.semantics, 'mmdet' \(at "
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(both))
    with pytest.raises(RecipeError, match=message + r".*mine\.yaml\)$"):
        load_recipe(path)
    with pytest.raises(RecipeError, match=message + r"a\.ckpt\)$"):
        from_dict({"name": "mine", **both}, "a.ckpt")
    override = "model={semantics: mmdet, dialect: tf}"
    with pytest.raises(RecipeError, match=message + re.escape(f"--set {override}") + r"\)$"):
        load_recipe("shapes", [override])


def test_a_wrong_value_by_an_old_name_is_reported_by_the_present_one() -> None:
    message = r"model\.dialect .* got 'torch' \(at --set model\.semantics=torch\)"
    with pytest.raises(RecipeError, match=message):
        load_recipe("shapes", ["model.semantics=torch"])


WORDS = st.sampled_from(["", "start", "stop", "epochs", "null", "- ", "!!int x", "!!bool x", "0"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
KEYS = [
    f"{section}.{key}"
    for section, values in load_recipe("shapes").to_dict().items()
    if isinstance(values, dict)
    for key in values
]


def refused(build: Callable[[], Recipe]) -> str:
    """Return the message of a RecipeError, which must be one line; empty if there is none."""
    try:
        build()
    except RecipeError as error:
        (message,) = str(error).splitlines()
        return message
    return ""


@settings(deadline=None)
@given(st.sampled_from([*KEYS, "training", "description", "name"]), VALUES)
def test_any_value_is_accepted_or_refused_in_one_line(key: str, value: object) -> None:
    section, _, leaf = key.partition(".")
    content = {"name": "x", section: {leaf: value} if leaf else value}
    error = refused(lambda: from_dict(content, "here"))
    assert error.endswith("(at here)") == (error != "")
    if not error:
        recipe = from_dict(content, "here")
        assert from_dict(recipe.to_dict(), "there") == recipe


@settings(deadline=None)
@given(st.one_of(WORDS, st.text("!&*[]{}:,#|>-?%@\t\n \"'a0.x~<=_", max_size=12)))
@example("[1")
@example("!!int x")
@example("!!int ''")
@example("!!bool x")
@example("!!timestamp x")
@example("2020-99-99")
@example("[" * 1000)
@example("1" * 5000)
@example("{[a]: b}")
@example("!!python/object/apply:os.getcwd []")
@example("a:\n\tb: 1")
def test_any_text_is_accepted_or_refused_in_one_line(text: str) -> None:
    error = refused(lambda: load_recipe("shapes", [f"training.epochs={text}"]))
    assert ("(at --set training.epochs=" in error) == (error != "")


@pytest.mark.parametrize(
    "content",
    [
        *("- a list\n", "a: [", "", "\x00", "training:\n\tepochs: 3\n", "a: 1\n b: 2\n"),
        *("name: !!python/object/apply:os.getcwd []\n", "a: !!int x", "a: 2020-99-99"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=r"\(at .*mine\.yaml\)$") as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)


def test_an_override_does_not_change_an_aliased_section(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("anchors: &a {}\nmatching: *a\n")
    assert load_recipe(path, ["anchors.octaves=2"]).anchors.octaves == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone\.yaml"):
        load_recipe(tmp_path / "gone.yaml")


def test_a_file_of_the_user_takes_its_name_from_the_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training: {epochs: 7}\n")
    recipe = load_recipe(path)
    assert (recipe.name, recipe.training.epochs) == ("mine", 7)
