"""Networks built from recipes and dialects."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor

import searched_archs
from nasfpn_runtime import build_network, build_pyramid
from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.recipe.recipe import load_recipe, names

SMALL = ["model.backbone=resnet10", "model.width=1", "model.channels=4", "model.stacks=1"]

pytestmark = pytest.mark.usefixtures("pynative")


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_outputs_have_one_row_per_anchor_and_one_column_per_class(name: str) -> None:
    recipe = load_recipe(name, [*SMALL, "data.image=[128, 256]"])
    net = build_network(recipe, categories=5)
    net.set_train(False)
    logits, deltas = net(Tensor(np.zeros((2, 3, 128, 256), np.float32)))
    anchors = len(recipe.anchor_boxes(searched_archs.load("nasfpn").levels))
    assert deltas.shape == (2, anchors, 4)
    # mmdetection has no background class.
    assert logits.shape == (2, anchors, 5 if name.startswith("mmdet") else 6)


def test_a_recipe_by_name_has_the_published_sizes() -> None:
    net = build_network("tf-r50-7x256-640")
    assert net.head.classes.outputs == 91
    assert len(net.pyramid.stacks) == 7
    assert net.backbone.channels == {3: 512, 4: 1024, 5: 2048}


def test_unknown_names_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"recipe.*'tf-r50'"):
        build_network("tf-r50")
    with pytest.raises(ValueError, match=r"dialect.*tf, mmdet, modelzoo.*'torch'"):
        build_pyramid(searched_archs.load("fpn"), dialect="torch", in_channels={3: 1, 4: 1, 5: 1})
