"""Anchors, targets, rates and suppression of the MindSpore model zoo's own code.

``modelzoo.npz`` was made by running research/cv/nas-fpn of MindSpore models at eab643f.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from locations import ASSETS
from nasfpn_runtime.batches.matching import match
from nasfpn_runtime.inference.postprocess import suppress
from nasfpn_runtime.pictures.boxes import decode
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.training.schedule import learning_rates

LEVELS = (3, 4, 5, 6, 7)
RECIPE = "modelzoo-r50-7x256-640"
XYXY = [1, 0, 3, 2]  # columns of the golden's y1, x1, y2, x2


@pytest.fixture(scope="module")
def golden() -> Mapping[str, Any]:
    with np.load(ASSETS / "modelzoo.npz") as file:
        return dict(file)


def test_anchors(golden: Mapping[str, Any]) -> None:
    anchors = load_recipe(RECIPE).anchor_boxes(LEVELS, normalised=True)
    assert len(anchors) == golden["anchors_count"]
    centre, sides = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
    yxhw = np.concatenate([centre[:, ::-1], sides[:, ::-1]], axis=1)[::97]
    # Here corners are rounded to float32, there centres and sides. The largest corner is below 2,
    # where float32 values are 1.2e-7 apart.
    np.testing.assert_allclose(yxhw, golden["anchors_yxhw"], rtol=0, atol=1.2e-7)


def test_targets(golden: Mapping[str, Any]) -> None:
    recipe = load_recipe(RECIPE)
    anchors = recipe.anchor_boxes(LEVELS, normalised=True)
    boxes = np.ascontiguousarray(golden["gt_boxes"][:, XYXY])
    labels = golden["gt_boxes"][:, 4].astype(np.int32)
    classes, deltas = match(anchors, boxes, labels, recipe.matching, code=recipe.box_code)
    index = np.flatnonzero(classes >= 0)
    assert index.tolist() == golden["target_index"].tolist()
    assert len(index) == golden["num_match"][0]
    np.testing.assert_array_equal(classes[index], golden["target_label"])
    # Offsets are divided by a tenth of the sides, which are 0.03 or more: 6e-8 in a corner is 2e-5.
    np.testing.assert_allclose(deltas[index], golden["target_loc"], rtol=1e-6, atol=2e-5)


def test_targets_decode_to_their_boxes(golden: Mapping[str, Any]) -> None:
    recipe = load_recipe(RECIPE)
    anchors = recipe.anchor_boxes(LEVELS)[golden["target_index"]]
    boxes = decode(golden["target_loc"], anchors, recipe.box_code)
    truth = {int(row[4]): row[XYXY] * 640 for row in golden["gt_boxes"]}
    expected = [truth[label] for label in golden["target_label"].tolist()]
    np.testing.assert_allclose(boxes, expected, atol=1e-2)


def test_rates(golden: Mapping[str, Any]) -> None:
    rates = learning_rates(load_recipe(RECIPE).training, steps_per_epoch=100)
    assert len(rates) == 300 * 100
    np.testing.assert_array_equal(rates[golden["lr_index"]], golden["lr"])


def test_suppression(golden: Mapping[str, Any]) -> None:
    rule = load_recipe(RECIPE).detection
    order = np.argsort(-golden["nms_scores"], kind="stable")
    boxes = golden["nms_boxes"][order][:, XYXY].astype(np.float32)
    kept = order[suppress(boxes, np.zeros(len(order), np.int64), rule)]
    assert kept.tolist() == golden["nms_keep"].tolist()
