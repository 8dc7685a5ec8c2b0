"""Loading the arrays of other implementations: what is set, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from mindspore import Tensor

from nasfpn_runtime import build_network
from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.importers.load import load_state
from nasfpn_runtime.network.resnet import ResNet
from nasfpn_runtime.recipe.dialects import DIALECTS
from source_arrays import (
    LISTS,
    backbone_arrays,
    listed_shapes,
    neck_arrays,
    small_pyramid,
    values,
)


@pytest.mark.parametrize("source", LISTS)
def test_a_pyramid_takes_only_the_neck(source: str) -> None:
    net, arrays = small_pyramid(source), neck_arrays(source)
    result = load_state(net, arrays | {"bbox_head.retina_cls.bias": np.ones(3)}, source)
    assert result.unexpected == ("bbox_head.retina_cls.bias",)
    assert {f"pyramid.{name}" for name in values(net)} == set(result.mapped.values())


def test_one_error_lists_all_faults_and_nothing_is_set() -> None:
    net, arrays = small_pyramid("mmdet"), neck_arrays("mmdet")
    before = values(net)
    cell = "neck.fpn_stages.0.sum_44_4.out_conv"
    del arrays[f"{cell}.conv.bias"], arrays["neck.lateral_convs.1.bn.weight"]
    arrays[f"{cell}.bn.bias"] = np.ones(7, np.float32)
    arrays[f"{cell}.bn.weight"] = np.ones(8, np.int64)  # type: ignore[assignment]
    arrays[f"{cell}.bn.running_mean"] = np.full(8, np.nan, np.float32)
    with pytest.raises(CheckpointError) as caught:
        load_state(net, arrays, "mmdet")
    first, *rest = str(caught.value).splitlines()
    assert "2 missing, 3 wrong" in first
    assert "mmdet-r50-7x256-640" in first
    assert len(rest) == 5
    text = "\n".join(rest)
    assert f"missing {cell}.conv.bias (pyramid.stacks.0.cells_.1.out.conv.bias)" in text
    assert "missing neck.lateral_convs.1.bn.weight (pyramid.laterals.1.bn.gamma)" in text
    for pattern in (r"bn\.bias .*\(8,\), got \(7,\)", r"bn\.weight .*floating.*, got int64"):
        assert re.search(re.escape(cell) + r"\." + pattern, text)
    assert re.search(re.escape(cell) + r"\.bn\.running_mean .*finite.*, got nan", text)
    for name, value in values(net).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_partial_load_sets_what_is_given_and_lists_what_is_missing() -> None:
    net, arrays = small_pyramid("mmdet"), neck_arrays("mmdet")
    bias = "neck.fpn_stages.0.sum_44_4.out_conv.conv.bias"
    del arrays[bias]
    result = load_state(net, arrays, "mmdet", partial=True)
    assert result.missing == ("pyramid.stacks.0.cells_.1.out.conv.bias",)
    weight = net.stacks[0].cells_[1].out.conv.weight.asnumpy()
    np.testing.assert_array_equal(weight, arrays[bias.replace("bias", "weight")])


@pytest.mark.slow
def test_aliases_of_one_tensor_must_be_equal() -> None:
    recipe = "mmdet-r50-7x256-640"
    arrays = {name: np.zeros(shape, np.float32) for name, shape in listed_shapes("mmdet").items()}
    level3 = "bbox_head.reg_convs.3.1.conv.weight"
    del arrays[level3]  # one is enough
    net = build_network(recipe)
    assert level3 not in load_state(net, arrays, "mmdet").mapped
    arrays["bbox_head.reg_convs.2.1.conv.weight"] = np.ones((256, 256, 3, 3), np.float32)
    with pytest.raises(CheckpointError, match=r"reg_convs\.0\.1.*reg_convs\.2\.1.*one tensor"):
        load_state(net, arrays, "mmdet")


@pytest.mark.parametrize("dialect", LISTS)
@pytest.mark.parametrize("weights", LISTS)
def test_weights_for_another_dialect_are_refused(dialect: str, weights: str) -> None:
    if dialect == weights:
        return
    with pytest.raises(CheckpointError, match=f"recipe {weights}-r50"):
        load_state(small_pyramid(dialect), neck_arrays(weights), weights)
    with pytest.raises(CheckpointError, match=f"names .* source {weights}"):
        load_state(small_pyramid(weights), neck_arrays(weights), dialect)


def test_a_name_with_and_without_a_prefix_is_refused() -> None:
    arrays = neck_arrays("mmdet")
    name = "neck.lateral_convs.1.bn.weight"
    with pytest.raises(CheckpointError, match=f"{name} .*with and without"):
        load_state(small_pyramid("mmdet"), arrays | {f"module.{name}": arrays[name]}, "mmdet")


def test_a_shortcut_keeps_its_values_if_its_block_is_missing() -> None:
    net = ResNet("resnet18", 4, (3, 4, 5), DIALECTS["mmdet"])
    stem = {"conv1.weight": np.ones((4, 3, 7, 7), np.float32)}
    result = load_state(net, stem, "torchvision", partial=True)
    assert "backbone.groups.0.0.shortcut.conv.weight" in result.missing
    assert not net.groups[0][0].shortcut.conv.weight.asnumpy().any()


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"mmdet, modelzoo, tf.*got 'caffe'"):
        load_state(small_pyramid("tf"), {}, "caffe")


@pytest.mark.parametrize("source", ["torchvision", "mindcv"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_backbone_fills_the_backbone(name: str, source: str, pynative: None) -> None:
    arrays = backbone_arrays(name, source)
    net = ResNet(name, 4, (3, 4, 5), DIALECTS["mmdet"])
    result = load_state(net, arrays, source)
    assert not result.missing
    assert not result.unexpected
    assert {n for n in result.ignored if "tracked" not in n} == {
        "fc.weight" if source == "torchvision" else "classifier.weight"
    }
    assert result.mapped["layer3.1.conv2.weight"] == "backbone.groups.2.1.body.1.conv.weight"
    not_in_source = {f"backbone.{n}" for n in values(net)} - set(result.mapped.values())
    assert {n.rsplit(".", 2)[0] for n in not_in_source} == (
        {"backbone.groups.0.0.shortcut"} if name == "resnet18" else set()
    )
    if not_in_source:  # then the shortcut is the identity
        x = np.random.default_rng(2).standard_normal((1, 4, 5, 5)).astype(np.float32)
        net.set_train(False)
        y = net.groups[0][0].shortcut(Tensor(x)).asnumpy()
        np.testing.assert_allclose(y, x, rtol=1e-6)


def test_a_backbone_source_misses_only_parameters_of_the_backbone() -> None:
    arrays = backbone_arrays("resnet50", "torchvision")
    with pytest.raises(CheckpointError, match="0 missing"):
        load_state(small_pyramid("tf"), arrays, "torchvision")
    del arrays[
        "layer1.0.downsample.0.weight"
    ]  # not replaced by the identity: the number of channels changes
    net = ResNet("resnet50", 4, (3, 4, 5), DIALECTS["tf"])
    with pytest.raises(CheckpointError, match=r"missing layer1\.0\.downsample\.0\.weight"):
        load_state(net, arrays, "torchvision")
