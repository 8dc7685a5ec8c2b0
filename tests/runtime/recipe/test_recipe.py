"""Recipes: what is accepted, what is refused and with which words, round trips."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.pictures.boxes import BoxCode
from nasfpn_runtime.recipe.recipe import RECIPES, Recipe, from_dict, load_recipe, names
from nasfpn_runtime.recipe.settings import Anchors, DetectionRule, Loss, Matching, Ramp


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


R50 = [f"{dialect}-r50-7x256-640" for dialect in ("tf", "mmdet", "modelzoo")]


@pytest.mark.parametrize(("name", "classes"), list(zip(R50, [91, 80, 81], strict=True)))
def test_the_dialects_have_the_published_sizes(name: str, classes: int) -> None:
    recipe = load_recipe(name)
    shape = recipe.shape(recipe.model.categories, (3, 4, 5, 6, 7))
    assert (shape.backbone, shape.stacks, shape.channels) == ("resnet50", 7, 256)
    assert (shape.classes, shape.anchors, shape.image) == (classes, 9, (640, 640))


def test_the_defaults_are_tfs() -> None:
    # Where a default is not, it suits training from scratch: see the recipe's other keys.
    recipe = load_recipe("tf-r50-7x256-640")
    assert (recipe.anchors, recipe.box_code) == (Anchors(), BoxCode())
    assert (recipe.loss, recipe.detection) == (Loss(), DetectionRule())
    assert replace(recipe.matching, contested="higher") == Matching()


def test_a_list_may_hold_sections() -> None:
    ramps = "training.warmup=[{start: 0, stop: 0.5, steps: 3}, {start: 1, stop: 1, epochs: 2}]"
    recipe = load_recipe("shapes", ["training.warmup_epochs=0", ramps])
    assert recipe.training.warmup == (Ramp(0.0, 0.5, steps=3), Ramp(1.0, 1.0, epochs=2.0))
    assert from_dict(recipe.to_dict(), "test") == recipe


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
        ("model.dialect=torch", "dialect is one of tf"),
        ("box_code.order=xyxy", "box_code: order is one of yxhw, xywh, got 'xyxy'"),
        ("anchors.centre=1", "anchors: centre is from 0 to below 1"),
        ("data.interpolation=cubic", "interpolation is one of antialias, bilinear"),
        ("data.pad=none", "pad is one of image, picture"),
        ("matching.contested=best", "contested is one of higher, first, last"),
        ("loss.normaliser=none", "normaliser is one of plus_one, batch, picture"),
        ("loss.huber_delta=0", "huber_delta is above 0 or null"),
        ("detection.pre_nms=0", "pre_nms is above 0 or null"),
        ("training.schedule=poly", "schedule is one of cosine, step"),
        ("training.lr_end=2", "lr_end is from 0 to 1"),
        ("training.milestones=[-1]", "milestones is 0 or more"),
        ("training.warmup=[{start: 0, stop: 1, steps: 1}]", "warmup is empty or warmup_epochs 0"),
        ("training.warmup=[{start: 0, stop: 1}]", r"training.warmup\[0\]: steps is above 0"),
        ("training.warmup=[{start: 0, step: 1}]", r"unknown key training.warmup\[0\].step"),
        ("training.warmup=[{start: 0}]", r"training.warmup\[0\] needs stop, got {'start': 0}"),
        ("training.warmup=[{}]", r"training.warmup\[0\] needs start, stop, got {}"),
        ("training.warmup=[3]", r"training.warmup\[0\] is a mapping, got 3"),
        ("training.warmup={start: 0, stop: 1}", "training.warmup is a list, got {'start'"),
        ("training.dropblock=[0.9]", r"training.dropblock is a mapping, got \[0.9\]"),
        ("training=null", "training is a mapping, got None"),
        ("training.epochs=null", "training.epochs is of type int, got None"),
        ("training.lr=.inf", "training.lr is a finite number, got inf"),
        ("training.lr=nan", "training.lr is a finite number, got nan"),
        ("anchors.ratios=[1, -.inf]", r"anchors.ratios\[1\] is a finite number, got -inf"),
        (f"training.lr=1{'0' * 400}", "training.lr is of type float, got 10000"),
        ("matching.negative=0.9", "negative is from 0 to positive"),
        ("anchors.ratios=[]", "ratios is one or more"),
        ("epochs", "an override is section.key=value"),
        ("training.lr=[", "an override's value is YAML"),
        ("description.x=1", "description is not a section"),
    ],
)
def test_a_wrong_override_names_its_key_and_itself(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe("bccd-256", ["training.epochs=3", override, "loss.gamma=1"])
    assert "." not in override or str(caught.value).endswith(f"(at --set {override})")
    assert "\n" not in str(caught.value)


RAMPS = "training.warmup=[{start: 0, stop: 1, steps: 1}]"


@pytest.mark.parametrize(
    ("overrides", "place"),
    [
        # Wrong by itself, but what comes after it mends it.
        ([RAMPS, "training.warmup_epochs=0", "training.lr=-1"], "--set training.lr=-1"),
        (["training.lr=-1", "training.lr=1", "training.clip=0"], "--set training.clip=0"),
        # Wrong only with the one before.
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
    """Return the message of a RecipeError, which is one line, or nothing if there is none."""
    try:
        build()
    except RecipeError as error:
        (message,) = str(error).splitlines()
        return message
    return ""


@settings(deadline=None)
@given(st.sampled_from([*KEYS, "training", "description", "name"]), VALUES)
def test_any_value_is_taken_or_refused_in_one_line(key: str, value: object) -> None:
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
def test_any_text_is_taken_or_refused_in_one_line(text: str) -> None:
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


def test_overrides_of_sections_that_are_one_in_the_file_are_apart(tmp_path: Path) -> None:
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
