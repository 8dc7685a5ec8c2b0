"""Complete detectors against outputs of the public implementations' own code.

``assets/{modelzoo,mmdet,tf_tpu}.npz`` were made by MindSpore models research/cv/nas-fpn at
eab643f, mmdetection 3.3.0's neck on torchvision's ResNet-50, and tensorflow/tpu
models/official/detection at 7dc921f, each on weights made from its own parameters' names.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor
from numpy.typing import NDArray

from locations import ASSETS
from nasfpn_runtime import build_network
from nasfpn_runtime.batches.matching import BACKGROUND
from nasfpn_runtime.importers.load import load_state
from nasfpn_runtime.network.losses import DetectionLoss
from nasfpn_runtime.recipe.recipe import load_recipe

LEVELS = range(3, 8)
Weight = Callable[[str, tuple[int, ...]], NDArray[np.float32]]

pytestmark = pytest.mark.usefixtures("pynative")


def shapes(file: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of parameters by their names in the source."""
    with (ASSETS / file).open() as lines:
        rows = csv.reader(lines, delimiter="\t")
        return {row[0]: tuple(int(n) for n in row[1].strip("()").split(",") if n) for row in rows}


def picture(height: int, width: int) -> Tensor:
    values = np.random.default_rng(7).standard_normal((1, 3, height, width))
    return Tensor(values.astype(np.float32))


def close(ours: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    """Return whether two results agree up to the order of float32 operations."""
    return bool(np.abs(ours - expected).max() / expected.std() < 1e-4)


def run(net: Any, image: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    net.set_train(False)
    logits, deltas = net(image)
    return logits.asnumpy(), deltas.asnumpy()


@pytest.mark.slow
def test_the_model_zoo_s_detector(weight: Weight) -> None:
    golden = np.load(ASSETS / "modelzoo.npz")
    named = shapes("modelzoo_parameter_names.tsv")
    arrays = {name: weight(name, shape) for name, shape in named.items()}
    net = build_network("modelzoo-r50-7x256-640")
    report = load_state(net, arrays, "modelzoo")
    assert not report.missing
    assert not report.unexpected
    assert len(report.mapped) == len(arrays) == 585
    assert sum(p.size for p in net.trainable_params()) == 85_891_392
    logits, deltas = run(net, picture(640, 640))
    assert logits.shape == (1, golden["anchors_count"], 81)
    assert close(logits.ravel()[golden["cls_pos"]], golden["cls"])
    assert close(deltas.ravel()[golden["loc_pos"]], golden["loc"])
    labels = np.full((1, golden["anchors_count"]), BACKGROUND, np.int32)
    targets = np.zeros((1, golden["anchors_count"], 4), np.float32)
    labels[0, golden["target_index"]] = golden["target_label"]
    targets[0, golden["target_index"]] = golden["target_loc"]
    loss = DetectionLoss(81, load_recipe("modelzoo-r50-7x256-640").loss)
    divisor = np.float32(golden["num_match"].sum())
    ours = float(loss(*map(Tensor, (logits, deltas, labels, targets, divisor))).asnumpy())
    assert ours == pytest.approx(float(golden["eval_loss"]), rel=1e-4)


def mmdet_weight(name: str, shape: tuple[int, ...], weight: Weight) -> NDArray[np.float32]:
    """Return a weight; the heads' convolutions of all levels equal those of the first."""
    parts = name.split(".")
    if parts[0] == "bbox_head" and parts[-2] == "conv":
        parts[2] = "0"
    return weight(".".join(parts), shape)


@pytest.mark.slow
@pytest.mark.parametrize(("key", "height", "width"), [("a", 640, 640), ("b", 512, 768)])
def test_mmdetection_s_detector(weight: Weight, key: str, height: int, width: int) -> None:
    golden = np.load(ASSETS / "mmdet.npz")
    named = shapes("mmdet_state_dict_names.tsv")
    arrays = {
        name: mmdet_weight(name, shape, weight)
        for name, shape in named.items()
        if not name.endswith("num_batches_tracked")
    }
    net = build_network(load_recipe("mmdet-r50-7x256-640", [f"data.image=[{height}, {width}]"]))
    report = load_state(net, arrays, "mmdet")
    assert not report.missing
    assert not report.unexpected
    assert sum(p.size for p in net.trainable_params()) == 59_979_828
    maps: list[Tensor] = []
    net.pyramid.register_forward_hook(lambda cell, inputs, outputs: maps.extend(outputs))
    for kind, values in zip(("cls", "reg"), run(net, picture(height, width)), strict=True):
        check_heads(values, golden, f"{key}_{kind}", (height, width))
    for level, output in zip(LEVELS, maps, strict=True):
        ours = output.asnumpy().ravel()[golden[f"{key}_neck_p{level}_pos"]]
        assert close(ours, golden[f"{key}_neck_p{level}"])


@pytest.mark.slow
def test_tensorflow_s_detector(weight: Weight) -> None:
    golden = np.load(ASSETS / "tf_tpu.npz")
    size = int(golden["height"]), int(golden["width"])
    arrays = {}
    for name, shape in shapes("tf_variable_names.tsv").items():
        if len(shape) == 4:  # drawn in the order out, in, height, width
            arrays[name] = weight(name, (*shape[:1:-1], *shape[:2])).transpose(2, 3, 1, 0)
        else:
            arrays[name] = weight(name, shape)
    net = build_network(load_recipe("tf-r50-7x256-640", [f"data.image={list(size)}"]))
    report = load_state(net, arrays, "tf")
    assert not report.missing
    assert not report.unexpected
    assert sum(p.size for p in net.trainable_params()) == 60_078_743
    for kind, values in zip(("cls", "box"), run(net, picture(*size)), strict=True):
        check_heads(values, golden, kind, size)


def check_heads(values: NDArray[np.float32], golden: Any, key: str, size: tuple[int, int]) -> None:
    """Compare an output (1, A, k), level by level, with the maps of the convolutions."""
    start = 0
    for level in LEVELS:
        rows, columns = size[0] >> level, size[1] >> level
        count = rows * columns * 9
        part = values[0, start : start + count].reshape(rows, columns, -1)
        ours = part.transpose(2, 0, 1).ravel()[golden[f"{key}_p{level}_pos"]]
        assert close(ours, golden[f"{key}_p{level}"])
        start += count
    assert start == values.shape[1]
