"""Which parameter of a source is which parameter of ours."""

from __future__ import annotations

import numpy as np
import pytest

from nasfpn_runtime import build_network
from nasfpn_runtime.importers.load import load_state
from source_arrays import LISTS, Arrays, listed_shapes, neck_arrays, small_pyramid, values

# Read off the sources' code: a name in the source, and the same parameter here.
PAIRS = {
    "mmdet": {
        "backbone.conv1.weight": "backbone.stem.conv.weight",
        "backbone.bn1.running_var": "backbone.stem.bn.moving_variance",
        "backbone.layer3.5.conv2.weight": "backbone.groups.2.5.body.1.conv.weight",
        "backbone.layer3.5.bn3.bias": "backbone.groups.2.5.body.2.bn.beta",
        "backbone.layer4.0.downsample.0.weight": "backbone.groups.3.0.shortcut.conv.weight",
        "backbone.layer4.0.downsample.1.weight": "backbone.groups.3.0.shortcut.bn.gamma",
        "neck.lateral_convs.2.bn.running_mean": "pyramid.laterals.2.bn.moving_mean",
        "neck.extra_downsamples.1.0.conv.weight": "pyramid.coarser.1.project.conv.weight",
        # The genome's cell 4 merges P5; mmdetection's module before it has no tensors.
        "neck.fpn_stages.6.sum_55_5.out_conv.conv.bias": "pyramid.stacks.6.cells_.4.out.conv.bias",
        "neck.fpn_stages.0.gp_64_4.out_conv.bn.weight": "pyramid.stacks.0.cells_.0.out.bn.gamma",
        "neck.fpn_stages.0.gp_75_6.out_conv.conv.weight": (
            "pyramid.stacks.0.cells_.6.out.conv.weight"
        ),
        "bbox_head.cls_convs.4.2.conv.weight": "head.classes.convs.2.weight",
        "bbox_head.reg_convs.4.2.bn.weight": "head.boxes.norms.4.2.gamma",
        "bbox_head.retina_cls.bias": "head.classes.predict.bias",
        "bbox_head.retina_reg.weight": "head.boxes.predict.weight",
    },
    "modelzoo": {
        "network.backbone.layer2.0.down_sample_layer.0.weight": (
            "backbone.groups.1.0.shortcut.conv.weight"
        ),
        "network.backbone.layer2.0.down_sample_layer.1.gamma": (
            "backbone.groups.1.0.shortcut.bn.gamma"
        ),
        "network.neck.lateral_convs.0.batchnorm.moving_variance": (
            "pyramid.laterals.0.bn.moving_variance"
        ),
        # Modules 4 and 6 of nine have no tensors.
        "network.neck.fpn_stages.2.3.out_conv.features.1.weight": (
            "pyramid.stacks.2.cells_.3.out.conv.weight"
        ),
        "network.neck.fpn_stages.2.5.out_conv.features.2.beta": (
            "pyramid.stacks.2.cells_.4.out.bn.beta"
        ),
        "network.neck.fpn_stages.2.8.out_conv.features.2.gamma": (
            "pyramid.stacks.2.cells_.6.out.bn.gamma"
        ),
        "network.head.multi_loc_layers.1.feats.6.weight": "head.boxes.1.convs.3.weight",
        "network.head.multi_cls_layers.4.feats.8.weight": "head.classes.4.predict.weight",
    },
    "tf": {
        # TF numbers convolutions as it creates them: the stem is 0; in group 0, block 0 has
        # shortcut 1 and body 2, 3, 4, block 1 body 5, 6, 7, block 2 body 8, 9, 10; in group 1,
        # the shortcut of block 0 is 11.
        "resnet50/conv2d/kernel": "backbone.stem.conv.weight",
        "resnet50/batch_normalization_1/gamma": "backbone.groups.0.0.shortcut.bn.gamma",
        "resnet50/conv2d_3/kernel": "backbone.groups.0.0.body.1.conv.weight",
        "resnet50/conv2d_10/kernel": "backbone.groups.0.2.body.2.conv.weight",
        "resnet50/batch_normalization_11/beta": "backbone.groups.1.0.shortcut.bn.beta",
        "resample_l4/conv2d/bias": "pyramid.laterals.1.conv.bias",
        "fpn_cells/cell_6/sub_policy4/op_after_combine9/bn/moving_mean": (
            "pyramid.stacks.6.cells_.4.out.bn.moving_mean"
        ),
        "retinanet/class_net/class-2/kernel": "head.classes.convs.2.weight",
        "retinanet/box_net/box-2-7/gamma": "head.boxes.norms.4.2.gamma",
        "retinanet/box_net/box-predict/bias": "head.boxes.predict.bias",
    },
}


def filled(shapes: dict[str, tuple[int, ...]]) -> Arrays:
    """Return arrays that differ in their value, for most pairs."""
    return {
        name: np.full(shape, number % 9973, np.float32)
        for number, (name, shape) in enumerate(shapes.items())
    }


@pytest.mark.slow
@pytest.mark.parametrize("source", LISTS)
def test_every_tensor_of_a_source_fills_one_parameter_and_none_is_left(source: str) -> None:
    arrays = filled(listed_shapes(source))
    aliases = [n for n in arrays if "_convs." in n and n.endswith(".conv.weight") and "head" in n]
    for name in aliases:  # equal to the tensor of level 0
        arrays[name] = arrays[name.replace(name[:22], name[:20] + "0.", 1)]
    net = build_network(f"{source}-r50-7x256-640")
    result = load_state(net, arrays, source)
    loaded = values(net)
    assert not result.missing
    assert not result.unexpected
    assert all(name.endswith("num_batches_tracked") for name in result.ignored)
    assert result.mapped.keys() | set(result.ignored) == arrays.keys()
    assert set(result.mapped.values()) == loaded.keys()
    for name, ours in result.mapped.items():
        assert (loaded[ours] == arrays[name].ravel()[0]).all(), name
    assert {name: result.mapped[name] for name in PAIRS[source]} == PAIRS[source]


def test_tf_kernels_are_transposed_and_both_spellings_agree() -> None:
    real, neck = small_pyramid("tf"), small_pyramid("tf")
    arrays = neck_arrays("tf")
    result = load_state(real, arrays, "tf")
    kernel = "fpn_cells/cell_0/sub_policy1/op_after_combine6/conv/kernel"
    ours = real.stacks[0].cells_[1].out.conv.weight.asnumpy()
    for row, column, inputs, outputs in ((0, 2, 3, 5), (2, 1, 7, 0)):
        assert ours[outputs, inputs, row, column] == arrays[kernel][row, column, inputs, outputs]
    leaves = {
        "weight": "weight",
        "bias": "bias",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    other = {}
    for name, value in values(real).items():
        stem, leaf = name.rsplit(".", 1)
        kind, index, *rest = stem.split(".")
        module = f"lateral.{int(index) + 3}.{rest[0]}"
        if kind == "stacks":
            module = f"cells.{index}.{rest[1]}.{rest[3]}"
        other[f"neck.{module}.{leaves[leaf]}"] = value
    load_state(neck, other, "tf")
    for name, value in values(real).items():
        np.testing.assert_array_equal(values(neck)[name], value)
    assert result.mapped[kernel] == "pyramid.stacks.0.cells_.1.out.conv.weight"


@pytest.mark.parametrize(("source", "prefix"), [("mmdet", "module."), ("modelzoo", ""), ("tf", "")])
def test_prefixes_older_names_and_training_state_are_accepted(source: str, prefix: str) -> None:
    plain, changed = small_pyramid(source), small_pyramid(source)
    arrays = neck_arrays(source)
    renamed = {
        prefix
        + name.removeprefix("network.").replace(
            "out_conv", "conv_out" * (source == "mmdet") or "out_conv"
        )
        + ":0" * (source == "tf"): value.astype(np.float64)
        for name, value in arrays.items()
    }
    training = {"moments.network.neck.x": np.ones(2), "learning_rate": np.ones(())}
    extra = {"modelzoo": training, "tf": {"resample_l3/bn/gamma/Momentum": np.ones(2)}}
    load_state(plain, arrays, source)
    result = load_state(changed, renamed | extra.get(source, {}), source)
    for name, value in values(plain).items():
        np.testing.assert_array_equal(values(changed)[name], value, err_msg=name)
    assert set(result.ignored) == set(extra.get(source, {}))
    assert not result.unexpected
