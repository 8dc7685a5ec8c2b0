"""Dialects: sizes of the published networks, and overrides of their constants."""

from __future__ import annotations

import pytest

from nasfpn_runtime.network.init import INITS
from nasfpn_runtime.recipe.dialects import DIALECTS, MMDET, TF
from nasfpn_runtime.recipe.recipe import Model, load_recipe

R50 = [f"{dialect}-r50-7x256-640" for dialect in DIALECTS]


@pytest.mark.parametrize(("name", "classes"), list(zip(R50, [91, 80, 81], strict=True)))
def test_the_dialects_have_the_published_sizes(name: str, classes: int) -> None:
    recipe = load_recipe(name)
    shape = recipe.shape(recipe.model.categories, (3, 4, 5, 6, 7))
    assert (shape.backbone, shape.stacks, shape.channels) == ("resnet50", 7, 256)
    assert (shape.classes, shape.anchors, shape.image) == (classes, 9, (640, 640))


def test_a_model_may_override_constants_of_its_dialect() -> None:
    assert Model().resolved_dialect() == TF
    assert Model("mmdet").resolved_dialect() == MMDET
    changed = Model(norm_momentum=0.5, norm_epsilon=0.25, separable=True).resolved_dialect()
    constants = changed.norm_momentum, changed.norm_epsilon, changed.backbone_epsilon
    assert constants == (0.5, 0.25, 0.25)
    assert changed.layers.separable
    assert not TF.layers.separable
    assert (changed.gate, changed.init) == (TF.gate, TF.init)


def test_the_choices_of_each_dialect_are_known() -> None:
    for dialect in DIALECTS.values():
        assert {dialect.backbone_padding, dialect.stem_pool} <= {"symmetric", "same"}
        assert dialect.gate in ("coarser", "finer")
        assert dialect.gate_pool in ("max", "mean")
        assert dialect.init in INITS
