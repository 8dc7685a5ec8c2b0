"""Dataclasses from plain mappings: conversions, and messages that name key, value and place."""

from __future__ import annotations

import pytest

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.recipe.recipe import from_dict, load_recipe
from nasfpn_runtime.recipe.schema import build, nearest, plain
from nasfpn_runtime.recipe.settings import Anchors, Ramp, Training


def test_a_float_may_be_written_as_an_integer_or_with_an_exponent() -> None:
    recipe = load_recipe("shapes", ["training.weight_decay=1e-5", "training.lr=1"])
    assert recipe.training.weight_decay == 1e-5
    assert isinstance(recipe.training.lr, float)


def test_a_list_may_contain_sections() -> None:
    ramps = "training.warmup=[{start: 0, stop: 0.5, steps: 3}, {start: 1, stop: 1, epochs: 2}]"
    recipe = load_recipe("shapes", ["training.warmup_epochs=0", ramps])
    assert recipe.training.warmup == (Ramp(0.0, 0.5, steps=3), Ramp(1.0, 1.0, epochs=2.0))
    assert from_dict(recipe.to_dict(), "test") == recipe


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", r"unknown key training\.epoch, .* epochs\?"),
        ("trainign.epochs=3", r"unknown key trainign, .* training\?"),
        ("training.epochs=2.5", r"training\.epochs .* whole number, got 2\.5"),
        ("training.epochs=true", r"training\.epochs .* whole number, got True"),
        ("training.lr=fast", r"training\.lr .* finite number, got 'fast'"),
        ("training=3", "training .* mapping, got 3"),
        ("data.image=[1, 2, 3]", r"data\.image .* list of 2, got \[1, 2, 3\]"),
        ("data.image=[1, a]", r"data\.image\[1\] .* whole number, got 'a'"),
        ("training.warmup=[{start: 0, step: 1}]", r"unknown key training\.warmup\[0\]\.step"),
        ("training.warmup=[{start: 0}]", r"training\.warmup\[0\] .* stop, got {'start': 0}"),
        ("training.warmup=[{}]", r"training\.warmup\[0\] .* start, stop, got {}"),
        ("training.warmup=[3]", r"training\.warmup\[0\] .* mapping, got 3"),
        ("training.warmup={start: 0, stop: 1}", r"training\.warmup .* list, got {'start'"),
        ("training.dropblock=[0.9]", r"training\.dropblock .* mapping, got \[0\.9\]"),
        ("training=null", "training .* mapping, got None"),
        ("training.epochs=null", r"training\.epochs .* whole number, got None"),
        ("training.lr=.inf", r"training\.lr .* finite number, got inf"),
        ("training.lr=nan", r"training\.lr .* finite number, got nan"),
        ("anchors.ratios=[1, -.inf]", r"anchors\.ratios\[1\] .* finite number, got -inf"),
        (f"training.lr=1{'0' * 400}", r"training\.lr .* finite number, got 10000"),
        ("epochs", "section.key=value, got 'epochs'"),
        ("training.lr=[", "YAML: .*while parsing"),
        ("description.x=1", "description is not a section"),
    ],
)
def test_a_wrong_override_is_named_with_its_key(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe("bccd-256", ["training.epochs=3", override, "loss.gamma=1"])
    assert "." not in override or str(caught.value).endswith(f"(at --set {override})")
    assert "\n" not in str(caught.value)


def test_messages_have_the_path_and_the_place() -> None:
    with pytest.raises(RecipeError, match=r"^a\.scale .* got -1\.0 \(at here\)$"):
        build(Anchors, {"scale": -1.0}, "a", "here")
    with pytest.raises(RecipeError, match=r"^scale .* got -1\.0 \(at here\)$"):
        build(Anchors, {"scale": -1.0}, "", "here")
    with pytest.raises(RecipeError, match=r"^ramp .* start, stop, got {} \(at here\)$"):
        build(Ramp, {}, "", "here")


def test_plain_values_have_lists_for_tuples_at_every_depth() -> None:
    assert plain({"a": (1, (2, 3)), "b": {"c": ()}}) == {"a": [1, [2, 3]], "b": {"c": []}}
    assert build(Training, plain({"milestones": (1, 2)}), "", "").milestones == (1.0, 2.0)


def test_a_similar_name_is_suggested() -> None:
    assert "epochs" in nearest("epoch", ["batch", "epochs"])
    assert nearest("xyz", ["batch", "epochs"]) == ""
