"""Folding: a network without batch norm gives the same boxes and scores."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn

from nasfpn_runtime import build_network
from nasfpn_runtime.bench.parity import spread
from nasfpn_runtime.export.deployed import DeployedNetwork
from nasfpn_runtime.export.fold import fold
from nasfpn_runtime.inference.postprocess import sigmoid
from nasfpn_runtime.pictures.boxes import decode
from small_networks import GENOME, KINDS

pytestmark = pytest.mark.usefixtures("pynative")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tf", "mmdet", "modelzoo", "lite"])
def test_folding_changes_no_box_and_no_score(kind: str) -> None:
    recipe = KINDS[kind]
    rng = np.random.default_rng(0)
    images = Tensor(rng.standard_normal((1, 3, 64, 96)).astype(np.float32))
    net = build_network(recipe, GENOME, 3)
    spread(net, 32)
    logits, deltas = (output.asnumpy()[0] for output in net(images))
    anchors = recipe.anchor_boxes(GENOME.levels)
    background = recipe.model.resolved_dialect().background
    fold(net, background, recipe.box_code)
    assert not any(isinstance(cell, nn.BatchNorm2d) for cell in net.cells())
    folded = DeployedNetwork(net, anchors, recipe.box_code, half=False)
    folded.set_train(False)
    boxes, scores = (output.asnumpy()[0] for output in folded(images))
    expected = decode(deltas, anchors, recipe.box_code)
    np.testing.assert_allclose(boxes, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(scores, sigmoid(logits[:, int(background) :]), atol=1e-5)
    assert scores.shape == (len(anchors), 3)
    assert scores.std() > 0.05  # otherwise the comparison means nothing
