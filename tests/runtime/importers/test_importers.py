"""Names of other implementations: which tensor goes where, and what is refused."""

from __future__ import annotations

import ast
import csv
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import searched_archs
from locations import ASSETS
from nasfpn_runtime import build_network, build_pyramid
from nasfpn_runtime.data import coco_names
from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.importers.load import load_state
from nasfpn_runtime.network.resnet import ResNet
from nasfpn_runtime.recipe.dialects import DIALECTS

Arrays = dict[str, NDArray[Any]]
LISTS = {
    "mmdet": "mmdet_state_dict_names.tsv",
    "modelzoo": "modelzoo_parameter_names.tsv",
    "tf": "tf_variable_names.tsv",
}
RECIPES = {source: f"{source}-r50-7x256-640" for source in LISTS}

# Read off the sources' code: a name there, and what it is here.
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
        # Creation: stem 0, then each block; in group 0 block 0: shortcut 1, body 2, 3, 4;
        # block 1: body 5, 6, 7; block 2: 8, 9, 10; group 1 block 0: shortcut 11.
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


def listed(source: str) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a source's whole detector."""
    with (ASSETS / LISTS[source]).open() as file:
        return {row[0]: ast.literal_eval(row[1]) for row in csv.reader(file, delimiter="\t")}


def filled(shapes: dict[str, tuple[int, ...]]) -> Arrays:
    return {
        name: np.full(shape, number % 9973, np.float32)  # tells most tensors apart
        for number, (name, shape) in enumerate(shapes.items())
    }


def values(net: Any) -> Arrays:
    return {p.name: p.asnumpy() for p in net.get_parameters()}


@pytest.mark.parametrize("source", LISTS)
def test_every_tensor_of_a_source_has_its_place_and_every_place_its_tensor(source: str) -> None:
    arrays = filled(listed(source))
    aliases = [n for n in arrays if "_convs." in n and n.endswith(".conv.weight") and "head" in n]
    for name in aliases:  # of the tensor of level 0
        arrays[name] = arrays[name.replace(name[:22], name[:20] + "0.", 1)]
    net = build_network(RECIPES[source])
    loaded = load_state(net, arrays, source)
    found = values(net)
    assert not loaded.missing
    assert not loaded.unexpected
    assert all(name.endswith("num_batches_tracked") for name in loaded.ignored)
    assert loaded.mapped.keys() | set(loaded.ignored) == arrays.keys()
    assert set(loaded.mapped.values()) == found.keys()
    for name, ours in loaded.mapped.items():
        assert (found[ours] == arrays[name].ravel()[0]).all(), name
    assert {name: loaded.mapped[name] for name in PAIRS[source]} == PAIRS[source]


def small(dialect: str, stacks: int = 1) -> Any:
    return build_pyramid(
        searched_archs.load("nasfpn"),
        dialect=dialect,
        in_channels={3: 6, 4: 12, 5: 24},
        channels=8,
        stacks=stacks,
    )


def neck_arrays(dialect: str, stacks: int = 1, prefix: str = "") -> Arrays:
    """Return the neck of the source's list with the small sizes, random."""
    rng = np.random.default_rng(0)
    narrow = {256: 8, 512: 6, 1024: 12, 2048: 24}
    parts = ("neck.", "network.neck.", "resample", "fpn_cells")
    later = tuple(f"{n}" for n in range(stacks, 7))
    return {
        prefix + name: rng.standard_normal([narrow.get(n, n) for n in shape]).astype(np.float32)
        for name, shape in listed(dialect).items()
        if name.startswith(parts)
        and not any(f"fpn_stages.{n}." in name or f"cell_{n}/" in name for n in later)
        and not name.endswith("tracked")
    }


@pytest.mark.parametrize("source", LISTS)
def test_a_pyramid_alone_takes_the_neck(source: str) -> None:
    net, arrays = small(source), neck_arrays(source)
    loaded = load_state(net, arrays | {"bbox_head.retina_cls.bias": np.ones(3)}, source)
    assert loaded.unexpected == ("bbox_head.retina_cls.bias",)
    assert {f"pyramid.{name}" for name in values(net)} == set(loaded.mapped.values())


def test_tf_kernels_are_transposed_and_both_spellings_agree() -> None:
    real, neck = small("tf"), small("tf")
    arrays = neck_arrays("tf")
    loaded = load_state(real, arrays, "tf")
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
        place = f"lateral.{int(index) + 3}.{rest[0]}"
        if kind == "stacks":
            place = f"cells.{index}.{rest[1]}.{rest[3]}"
        other[f"neck.{place}.{leaves[leaf]}"] = value
    load_state(neck, other, "tf")
    for name, value in values(real).items():
        np.testing.assert_array_equal(values(neck)[name], value)
    assert loaded.mapped[kernel] == "pyramid.stacks.0.cells_.1.out.conv.weight"


@pytest.mark.parametrize(("source", "prefix"), [("mmdet", "module."), ("modelzoo", ""), ("tf", "")])
def test_spellings_that_are_accepted(source: str, prefix: str) -> None:
    plain, changed = small(source), small(source)
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
    loaded = load_state(changed, renamed | extra.get(source, {}), source)
    for name, value in values(plain).items():
        np.testing.assert_array_equal(values(changed)[name], value, err_msg=name)
    assert set(loaded.ignored) == set(extra.get(source, {}))
    assert not loaded.unexpected


def test_one_error_lists_everything_wrong_and_nothing_is_set() -> None:
    net, arrays = small("mmdet"), neck_arrays("mmdet")
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
    assert f"{cell}.bn.bias has shape (8,), got (7,)" in text
    assert f"{cell}.bn.weight is floating point, got int64" in text
    assert f"{cell}.bn.running_mean has finite values" in text
    for name, value in values(net).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_partial_load_takes_what_is_there_and_says_what_is_not() -> None:
    net, arrays = small("mmdet"), neck_arrays("mmdet")
    bias = "neck.fpn_stages.0.sum_44_4.out_conv.conv.bias"
    del arrays[bias]
    loaded = load_state(net, arrays, "mmdet", partial=True)
    assert loaded.missing == ("pyramid.stacks.0.cells_.1.out.conv.bias",)
    weight = net.stacks[0].cells_[1].out.conv.weight.asnumpy()
    np.testing.assert_array_equal(weight, arrays[bias.replace("bias", "weight")])


def test_aliases_of_one_tensor_have_one_value() -> None:
    recipe = "mmdet-r50-7x256-640"
    arrays = {name: np.zeros(shape, np.float32) for name, shape in listed("mmdet").items()}
    level3 = "bbox_head.reg_convs.3.1.conv.weight"
    del arrays[level3]  # one is enough
    net = build_network(recipe)
    assert level3 not in load_state(net, arrays, "mmdet").mapped
    arrays["bbox_head.reg_convs.2.1.conv.weight"] = np.ones((256, 256, 3, 3), np.float32)
    with pytest.raises(CheckpointError, match=r"reg_convs\.0\.1.*reg_convs\.2\.1.*one tensor"):
        load_state(net, arrays, "mmdet")


@pytest.mark.parametrize("dialect", LISTS)
@pytest.mark.parametrize("weights", LISTS)
def test_weights_of_another_dialect_are_refused(dialect: str, weights: str) -> None:
    if dialect == weights:
        return
    with pytest.raises(CheckpointError, match=f"fit the recipe {weights}-r50"):
        load_state(small(dialect), neck_arrays(weights), weights)
    with pytest.raises(CheckpointError, match=f"look like those of the source {weights}"):
        load_state(small(weights), neck_arrays(weights), dialect)


def test_a_name_twice_is_refused() -> None:
    arrays = neck_arrays("mmdet")
    name = "neck.lateral_convs.1.bn.weight"
    with pytest.raises(CheckpointError, match=f"{name} is there with and without"):
        load_state(small("mmdet"), arrays | {f"module.{name}": arrays[name]}, "mmdet")


def test_a_shortcut_stays_as_it_is_where_its_block_is_missing() -> None:
    net = ResNet("resnet18", 4, (3, 4, 5), DIALECTS["mmdet"])
    stem = {"conv1.weight": np.ones((4, 3, 7, 7), np.float32)}
    loaded = load_state(net, stem, "torchvision", partial=True)
    assert "backbone.groups.0.0.shortcut.conv.weight" in loaded.missing
    assert not net.groups[0][0].shortcut.conv.weight.asnumpy().any()


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"mmdet, modelzoo, tf.*got 'caffe'"):
        load_state(small("tf"), {}, "caffe")


def backbone_arrays(name: str, source: str) -> Arrays:
    """Return a ResNet as torchvision or mindcv name it, and its classifier."""
    blocks, body = {
        "resnet18": ((2, 2, 2, 2), (3, 3)),
        "resnet50": ((3, 4, 6, 3), (1, 3, 1)),
    }[name]
    torch = source == "torchvision"
    leaves = {
        True: ("weight", "bias", "running_mean", "running_var"),
        False: ("gamma", "beta", "moving_mean", "moving_variance"),
    }[torch]
    rng = np.random.default_rng(1)
    arrays: Arrays = {}

    def put(conv: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        arrays[f"{conv}.weight"] = rng.standard_normal((outputs, inputs, kernel, kernel))
        for leaf in leaves:
            arrays[f"{norm}.{leaf}"] = rng.uniform(0.5, 1.5, outputs)
        if torch:
            arrays[f"{norm}.num_batches_tracked"] = np.array(5)

    put("conv1", "bn1", 4, 3, 7)
    channels = 4
    for group, repeats in enumerate(blocks):
        width = 4 << group
        outputs = width * (4 if len(body) == 3 else 1)
        for block in range(repeats):
            stem = f"layer{group + 1}.{block}"
            if block == 0 and (channels != outputs or group):
                short = f"{stem}.{'downsample' if torch else 'down_sample'}"
                put(f"{short}.0", f"{short}.1", outputs, channels, 1)
            for index, kernel in enumerate(body):
                out = outputs if index == len(body) - 1 else width
                put(f"{stem}.conv{index + 1}", f"{stem}.bn{index + 1}", out, channels, kernel)
                channels = out
    arrays["fc.weight" if torch else "classifier.weight"] = np.ones((10, channels))
    return arrays


@pytest.mark.parametrize("source", ["torchvision", "mindcv"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_backbone_fills_the_backbone(name: str, source: str, pynative: None) -> None:
    arrays = backbone_arrays(name, source)
    net = ResNet(name, 4, (3, 4, 5), DIALECTS["mmdet"])
    loaded = load_state(net, arrays, source)
    assert not loaded.missing
    assert not loaded.unexpected
    assert {n for n in loaded.ignored if "tracked" not in n} == {
        "fc.weight" if source == "torchvision" else "classifier.weight"
    }
    assert loaded.mapped["layer3.1.conv2.weight"] == "backbone.groups.2.1.body.1.conv.weight"
    plain = {f"backbone.{n}" for n in values(net)} - set(loaded.mapped.values())
    assert {n.rsplit(".", 2)[0] for n in plain} == (
        {"backbone.groups.0.0.shortcut"} if name == "resnet18" else set()
    )
    if plain:
        from mindspore import Tensor

        x = np.random.default_rng(2).standard_normal((1, 4, 5, 5)).astype(np.float32)
        net.set_train(False)
        y = net.groups[0][0].shortcut(Tensor(x)).asnumpy()
        np.testing.assert_allclose(y, x, rtol=1e-6)


def test_a_backbone_is_no_pyramid_and_lacks_nothing_else_of_a_detector() -> None:
    arrays = backbone_arrays("resnet50", "torchvision")
    with pytest.raises(CheckpointError, match="0 missing"):
        load_state(small("tf"), arrays, "torchvision")
    del arrays["layer1.0.downsample.0.weight"]  # no identity: its channels change
    net = ResNet("resnet50", 4, (3, 4, 5), DIALECTS["tf"])
    with pytest.raises(CheckpointError, match=r"missing layer1\.0\.downsample\.0\.weight"):
        load_state(net, arrays, "torchvision")


def test_coco_names_by_order_and_by_id() -> None:
    by_order, by_id = coco_names.by_order(), coco_names.by_id()
    assert (len(by_order), len(by_id)) == (80, 90)
    assert tuple(name for name in by_id if not name.startswith("id ")) == by_order
    # Ids of instances_val2017.json.
    known = {1: "person", 13: "stop sign", 44: "bottle", 67: "dining table", 90: "toothbrush"}
    assert {i: by_id[i - 1] for i in known} == known
    assert by_id[12 - 1] == "id 12"
