"""Exported files: the checkpoint's boxes and scores, in one file that explains itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from mindspore import Tensor, nn
from mindspore.train.mind_ir_pb2 import ModelProto, TensorProto
from onnx import numpy_helper

from nasfpn_runtime import build_network
from nasfpn_runtime.bench.parity import parity, pictures, spread, write_random
from nasfpn_runtime.errors import CheckpointError, DeviceError, EngineError, RecipeError
from nasfpn_runtime.export import exporter as run
from nasfpn_runtime.export.compare import compare, inputs
from nasfpn_runtime.export.deployed import Deployed
from nasfpn_runtime.export.exporter import Request, export
from nasfpn_runtime.export.fold import fold
from nasfpn_runtime.inference.engines.mindspore import open_checkpoint
from nasfpn_runtime.inference.engines.registry import open_model, read_description
from nasfpn_runtime.inference.postprocess import sigmoid
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.pictures.boxes import decode
from nasfpn_runtime.recipe.recipe import Recipe, load_recipe
from search_space import Genome, MergingCell, detector_cost

RandomGenome = Callable[[np.random.Generator], Genome]
GENOME = Genome(tuple(MergingCell(level, "sum", (0, 1, 2)) for level in (3, 4, 5)), (3, 4, 5))
SMALL = ["model.backbone=resnet10", "model.width=4", "model.channels=8", "model.stacks=2"]
LITE = ["model.backbone=mobilenetv2", "model.width=8", "model.separable=true"]
BOTTLENECK = ["model.backbone=resnet50", "model.channels=16"]  # its level 3 has 16: no lateral

pytestmark = pytest.mark.usefixtures("pynative")


def small(name: str = "tf-r50-7x256-640", *overrides: str) -> Recipe:
    return load_recipe(name, [*SMALL, "model.head_convs=1", "data.image=[64, 96]", *overrides])


KINDS = {
    "tf": small(),
    "mmdet": small("mmdet-r50-7x256-640"),
    "modelzoo": small("modelzoo-r50-7x256-640"),
    "lite": small("tf-r50-7x256-640", *LITE),
    "lite-zoo": small("modelzoo-r50-7x256-640", *LITE),
    "bottleneck": small("tf-r50-7x256-640", *BOTTLENECK, "box_code.clip=both"),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkpoint of random weights."""
    path = tmp_path / "model.ckpt"
    write_random(path, small(), GENOME)
    return path


def written(source: Path, form: str, **wanted: Any) -> Path:
    out = source.with_suffix(f".{form}")
    export(source, out, Request(form, **wanted), pictures()[:1])
    return out


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
    folded = Deployed(net, anchors, recipe.box_code, half=False)
    folded.set_train(False)
    boxes, scores = (output.asnumpy()[0] for output in folded(images))
    expected = decode(deltas, anchors, recipe.box_code)
    np.testing.assert_allclose(boxes, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(scores, sigmoid(logits[:, int(background) :]), atol=1e-5)
    assert scores.shape == (len(anchors), 3)
    assert scores.std() > 0.05  # else the comparison says nothing


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_gives_the_checkpoints_boxes(
    kind: str, random_genome: RandomGenome, tmp_path: Path
) -> None:
    recipe = KINDS[kind]
    genome = random_genome(np.random.default_rng(list(KINDS).index(kind)))
    write_random(tmp_path / "a.ckpt", recipe, genome)
    wanted = Request("onnx", dynamic=True)
    report = export(tmp_path / "a.ckpt", tmp_path / "a.onnx", wanted, pictures()[:1])
    assert report.difference is not None
    assert report.difference.boxes < 0.01
    assert report.difference.scores < 1e-5
    assert report.cost == detector_cost(genome, recipe.shape(3, genome.levels))


def test_weights_of_a_merge_near_nothing_are_divided_as_trained(tmp_path: Path) -> None:
    # Shares are w / (sum w + 1e-4): of weights of 5e-5 a third is missing.
    genome = Genome(tuple(MergingCell(n, "weighted", (0, 1)) for n in (3, 4)), (3, 4))
    write_random(tmp_path / "a.ckpt", small(), genome)
    arrays, origin = checkpoint.load(tmp_path / "a.ckpt")
    net = build_network(origin.recipe, genome, 3)
    for stack in range(2):
        arrays[f"pyramid.stacks.{stack}.cells_.0.merge.weights"][:] = (5e-5, -1)
    checkpoint.restore(net, arrays, tmp_path)
    checkpoint.save(tmp_path / "b.ckpt", net, origin)
    written(tmp_path / "b.ckpt", "onnx")  # compares


def test_openvino_computes_in_float32(source: Path) -> None:
    path = written(source, "onnx", dynamic=True)
    about = read_description(path)
    found = compare(open_checkpoint(source)[0], path, about, pictures()[:1], "openvino")
    assert found.boxes < 0.01  # left to itself it computes in bfloat16: pixels
    assert found.scores < 1e-5


@pytest.mark.parametrize(("precision", "kind"), [("fp32", "FLOAT"), ("fp16", "FLOAT16")])
def test_mindir_gives_the_checkpoints_boxes(source: Path, precision: str, kind: str) -> None:
    path = written(source, "mindir", precision=precision, dynamic=True)
    engine, about = open_model(path)
    boxes, scores = engine.run(inputs(pictures(), about, about.size))  # two at once
    assert boxes.shape == (2, 126 * 9, 4)  # 8 * 12 + 4 * 6 + 2 * 3 places
    assert scores.shape == (2, 126 * 9, 3)
    assert boxes.dtype == scores.dtype == np.float32
    graph = ModelProto.FromString(path.read_bytes()).graph
    weights = [p for p in graph.parameter if p.name.endswith(".weight")]
    assert {p.data_type for p in weights} == {TensorProto.DataType.Value(kind)}


def test_every_node_and_constant_of_onnx_is_needed(source: Path) -> None:
    graph = onnx.load(written(source, "onnx")).graph
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    needed = {output.name for output in graph.output}
    for node in reversed(graph.node):
        assert needed & set(node.output), node.name
        needed |= set(node.input)
    assert {constant.name for constant in graph.initializer} <= needed
    assert {node.name for node in graph.node} >= {"stacks.1.2", "backbone.groups.0.0.body.0"}


def test_half_precision_is_in_the_weights(source: Path) -> None:
    sizes = {}
    for precision in ("fp32", "fp16"):
        path = written(source, "onnx", precision=precision)
        sizes[precision] = path.stat().st_size
        for constant in onnx.load(path).graph.initializer:
            value = numpy_helper.to_array(constant)
            if constant.name.endswith(".weight"):
                assert value.dtype == ("float16" if precision == "fp16" else "float32")
    assert sizes["fp16"] < 0.6 * sizes["fp32"]


def test_weights_too_large_for_half_are_named(source: Path, tmp_path: Path) -> None:
    arrays, origin = checkpoint.load(source)
    net = build_network(origin.recipe, origin.genome, 3)
    arrays["pyramid.stacks.0.cells_.1.out.bn.gamma"][:] = 1e9
    checkpoint.restore(net, arrays, source)
    checkpoint.save(source, net, origin)
    with pytest.raises(CheckpointError, match=r"65504, got .* in pyramid.stacks.0.cells_.1.out"):
        written(source, "onnx", precision="fp16")


def test_a_file_cut_after_a_stack_is_the_checkpoint_cut_there(source: Path) -> None:
    path = written(source, "onnx", stacks=1)
    engine, about = open_model(path)
    images = inputs(pictures()[:1], about, about.size)
    boxes, _ = engine.run(images)
    np.testing.assert_allclose(open_checkpoint(source, 1)[0].run(images)[0], boxes, atol=1e-3)
    assert np.abs(open_checkpoint(source)[0].run(images)[0] - boxes).max() > 1
    with pytest.raises(RecipeError, match="1 to 2 stacks"):
        written(source, "onnx", stacks=3)


def test_sides_are_rounded_up_to_the_stride(source: Path) -> None:
    about = read_description(written(source, "onnx", size=(33, 100)))
    assert about.size == (64, 128)  # multiples of 32
    assert about.fixed
    assert about.batch == 1


def damage(model: Any) -> None:
    """Change one weight of a network that is about to be written."""
    weight = model.head.classes.predict.weight
    weight.set_data(weight + 0.1)


def test_a_file_that_differs_does_not_appear(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folded = run.fold

    def wrong(net: Any, *args: Any) -> None:
        folded(net, *args)
        damage(net)

    monkeypatch.setattr(run, "fold", wrong)
    with pytest.raises(EngineError, match=r"scores to 0.0001 in fp32, got"):
        written(source, "onnx")
    assert [path.name for path in source.parent.iterdir()] == [source.name]


def test_a_file_that_gives_no_number_does_not_appear(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "fold", lambda net, *_: damage_with_nan(net, *_))
    with pytest.raises(EngineError, match="got nan px"):
        written(source, "onnx")


def damage_with_nan(net: Any, *args: Any) -> None:
    fold(net, *args)
    for parameter in net.head.get_parameters():
        parameter.set_data(Tensor(np.full(parameter.shape, np.nan, np.float32)))


def test_what_cannot_be_is_said_at_once(source: Path) -> None:
    with pytest.raises(DeviceError, match="AIR is written on Ascend only"):
        written(source, "air")
    with pytest.raises(EngineError, match="suppression is exported to ONNX only, got mindir"):
        written(source, "mindir", suppressed=True)


def test_suppression_that_differs_is_refused(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(source, "onnx", suppressed=True)
    honest = run._write

    def other_rule(path: Path, net: Any, origin: Any, about: Any) -> None:
        if not about.suppressed:
            about = replace(about, detection=replace(about.detection, iou=0.2))
        honest(path, net, origin, about)

    monkeypatch.setattr(run, "_write", other_rule)
    with pytest.raises(EngineError, match=r"finds what postprocess\.py does"):
        written(source, "onnx", suppressed=True)


def test_parity_has_a_row_for_each_file_and_engine(tmp_path: Path) -> None:
    rows = list(parity(tmp_path, small("bccd-128", "model.stacks=1"), [(100, 120)], ["fpn"]))
    assert [(r.form, r.precision, r.engine) for r in rows] == [
        ("mindir", "fp32", "mindspore"),
        ("onnx", "fp32", "onnxruntime"),
        ("onnx", "fp32", "openvino"),
        ("mindir", "fp16", "mindspore"),
        ("onnx", "fp16", "onnxruntime"),
        ("onnx", "fp16", "openvino"),
    ]
    assert {r.size for r in rows} == {(128, 128)}
    for row in rows:
        assert row.difference.boxes < (0.01 if row.precision == "fp32" else 1.3)
