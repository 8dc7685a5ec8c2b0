"""Recipes: what is accepted, what is refused and with which words, round trips."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasfpn_runtime.config import RECIPES, Recipe, from_dict, load_recipe, names
from nasfpn_runtime.errors import RecipeError


@pytest.mark.parametrize("name", names())
def test_a_shipped_recipe_survives_its_plain_form(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert from_dict(recipe.to_dict(), "test") == recipe


def test_a_float_may_be_written_as_an_integer_or_with_an_exponent() -> None:
    recipe = load_recipe("shapes", ["training.weight_decay=1e-5", "training.lr=1"])
    assert recipe.training.weight_decay == 1e-5
    assert isinstance(recipe.training.lr, float)


def test_all_files_are_shipped_recipes() -> None:
    assert {path.name for path in RECIPES.iterdir()} == {f"{name}.yaml" for name in names()}


def test_the_defaults_are_the_published_setting() -> None:
    # Paper section 4.1 and tensorflow/tpu retinanet_nasfpn.yaml.
    recipe = load_recipe("tf-r50-7x256-640")
    assert recipe == Recipe(recipe.name, recipe.description)
    shape = recipe.shape(90, (3, 4, 5, 6, 7))
    assert (shape.backbone, shape.stacks, shape.channels) == ("resnet50", 7, 256)
    assert (shape.classes, shape.anchors, shape.image) == (91, 9, (640, 640))


def test_overrides_reach_every_depth_and_win() -> None:
    recipe = load_recipe(
        "shapes",
        [
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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", "unknown key training.epoch, did you mean epochs"),
        ("trainign.epochs=3", "unknown key trainign, did you mean training"),
        ("training.epochs=2.5", "training.epochs is of type int"),
        ("training.epochs=true", "training.epochs is of type int"),
        ("training.epochs=0", "epochs is above 0"),
        ("training.lr=fast", "training.lr is of type float"),
        ("training=3", "training is a mapping"),
        ("data.image=[1, 2, 3]", "data.image is a list of 2"),
        ("data.image=[1, a]", r"data.image\[1\] is of type int"),
        ("data.fit=stretch", "fit is one of"),
        ("data.augment.hflip=2", "hflip"),
        ("model.backbone=resnet11", "backbone is one of"),
        ("model.semantics=torch", "semantics is one of tf"),
        ("matching.negative=0.9", "negative is from 0 to positive"),
        ("anchors.ratios=[]", "ratios is one or more"),
        ("epochs", "an override is section.key=value"),
        ("training.lr=[", "an override's value is YAML"),
        ("description.x=1", "description is not a section"),
    ],
)
def test_a_wrong_override_names_its_key(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("bccd-256", [override])


@pytest.mark.parametrize("content", ["- a list\n", "a: [", "", "\x00"])
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=r"mine\.yaml"):
        load_recipe(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone\.yaml"):
        load_recipe(tmp_path / "gone.yaml")


def test_a_file_of_the_user_takes_its_name_from_the_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training: {epochs: 7}\n")
    recipe = load_recipe(path)
    assert (recipe.name, recipe.training.epochs) == ("mine", 7)
