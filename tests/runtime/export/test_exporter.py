"""Exported files: they give the checkpoint's boxes and scores, or do not appear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from mindspore import Tensor
from mindspore.train.mind_ir_pb2 import ModelProto, TensorProto
from onnx import numpy_helper

from nasfpn_runtime import build_network
from nasfpn_runtime.bench.parity import pictures, write_random
from nasfpn_runtime.errors import CheckpointError, DeviceError, EngineError, RecipeError
from nasfpn_runtime.export import exporter
from nasfpn_runtime.export.compare import compare, inputs
from nasfpn_runtime.export.exporter import ExportRequest, export
from nasfpn_runtime.export.fold import fold
from nasfpn_runtime.export.onnx_file import write_onnx
from nasfpn_runtime.inference.engines.mindspore import open_checkpoint
from nasfpn_runtime.inference.engines.registry import open_model, read_description
from nasfpn_runtime.network import checkpoint
from search_space import Genome, MergingCell, detector_cost
from small_networks import GENOME, KINDS, small_recipe

RandomGenome = Callable[[np.random.Generator], Genome]

pytestmark = pytest.mark.usefixtures("pynative")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkpoint with random weights."""
    path = tmp_path / "model.ckpt"
    write_random(path, small_recipe(), GENOME)
    return path


def exported(source: Path, format: str, **settings: Any) -> Path:
    """Export a checkpoint, comparing on one image; return the file."""
    out = source.with_suffix(f".{format}")
    export(source, out, ExportRequest(format, **settings), pictures()[:1])
    return out


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_gives_the_checkpoints_boxes(
    kind: str, random_genome: RandomGenome, tmp_path: Path
) -> None:
    recipe = KINDS[kind]
    genome = random_genome(np.random.default_rng(list(KINDS).index(kind)))
    write_random(tmp_path / "a.ckpt", recipe, genome)
    request = ExportRequest("onnx", dynamic=True)
    report = export(tmp_path / "a.ckpt", tmp_path / "a.onnx", request, pictures()[:1])
    assert report.difference is not None
    assert report.difference.boxes < 0.01
    assert report.difference.scores < 1e-5
    assert report.cost == detector_cost(genome, recipe.shape(3, genome.levels))


@pytest.mark.slow
def test_tiny_weights_of_a_merge_are_normalised_as_in_training(tmp_path: Path) -> None:
    # Weights are divided by their sum + 1e-4: with a sum of 5e-5, only a third of it is left.
    genome = Genome(tuple(MergingCell(n, "weighted", (0, 1)) for n in (3, 4)), (3, 4))
    write_random(tmp_path / "a.ckpt", small_recipe(), genome)
    arrays, origin = checkpoint.load(tmp_path / "a.ckpt")
    net = build_network(origin.recipe, genome, 3)
    for stack in range(2):
        arrays[f"pyramid.stacks.{stack}.cells_.0.merge.weights"][:] = (5e-5, -1)
    checkpoint.restore(net, arrays, tmp_path)
    checkpoint.save(tmp_path / "b.ckpt", net, origin)
    exported(tmp_path / "b.ckpt", "onnx")  # compares with the checkpoint


@pytest.mark.slow
def test_openvino_computes_in_float32(source: Path) -> None:
    path = exported(source, "onnx", dynamic=True)
    about = read_description(path)
    difference = compare(open_checkpoint(source)[0], path, about, pictures()[:1], "openvino")
    assert difference.boxes < 0.01  # its default of bfloat16 differs by pixels
    assert difference.scores < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "kind"), [("fp32", "FLOAT"), ("fp16", "FLOAT16")])
def test_mindir_gives_the_checkpoints_boxes(source: Path, precision: str, kind: str) -> None:
    path = exported(source, "mindir", precision=precision, dynamic=True)
    engine, about = open_model(path)
    boxes, scores = engine.run(inputs(pictures(), about, about.size))  # a batch of two
    assert boxes.shape == (2, 126 * 9, 4)  # 8 * 12 + 4 * 6 + 2 * 3 locations
    assert scores.shape == (2, 126 * 9, 3)
    assert boxes.dtype == scores.dtype == np.float32
    graph = ModelProto.FromString(path.read_bytes()).graph
    weights = [p for p in graph.parameter if p.name.endswith(".weight")]
    assert {p.data_type for p in weights} == {TensorProto.DataType.Value(kind)}


@pytest.mark.slow
def test_every_node_and_constant_of_onnx_is_needed(source: Path) -> None:
    graph = onnx.load(exported(source, "onnx")).graph
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    needed = {output.name for output in graph.output}
    for node in reversed(graph.node):
        assert needed & set(node.output), node.name
        needed |= set(node.input)
    assert {constant.name for constant in graph.initializer} <= needed
    assert {node.name for node in graph.node} >= {"stacks.1.2", "backbone.groups.0.0.body.0"}


@pytest.mark.slow
def test_half_precision_halves_the_weights(source: Path) -> None:
    sizes = {}
    for precision in ("fp32", "fp16"):
        path = exported(source, "onnx", precision=precision)
        sizes[precision] = path.stat().st_size
        for constant in onnx.load(path).graph.initializer:
            value = numpy_helper.to_array(constant)
            if constant.name.endswith(".weight"):
                assert value.dtype == ("float16" if precision == "fp16" else "float32")
    assert sizes["fp16"] < 0.6 * sizes["fp32"]


@pytest.mark.slow
def test_a_weight_too_large_for_half_is_named(source: Path, tmp_path: Path) -> None:
    arrays, origin = checkpoint.load(source)
    net = build_network(origin.recipe, origin.genome, 3)
    arrays["pyramid.stacks.0.cells_.1.out.bn.gamma"][:] = 1e9
    checkpoint.restore(net, arrays, source)
    checkpoint.save(source, net, origin)
    with pytest.raises(CheckpointError, match=r"65504, got .* pyramid\.stacks\.0\.cells_\.1\.out"):
        exported(source, "onnx", precision="fp16")


@pytest.mark.slow
def test_a_file_with_fewer_stacks_is_the_checkpoint_with_fewer_stacks(source: Path) -> None:
    path = exported(source, "onnx", stacks=1)
    engine, about = open_model(path)
    images = inputs(pictures()[:1], about, about.size)
    boxes, _ = engine.run(images)
    np.testing.assert_allclose(open_checkpoint(source, 1)[0].run(images)[0], boxes, atol=1e-3)
    assert np.abs(open_checkpoint(source)[0].run(images)[0] - boxes).max() > 1
    with pytest.raises(RecipeError, match=r"stacks .*1 to 2.*, got 3"):
        exported(source, "onnx", stacks=3)


@pytest.mark.slow
def test_sides_are_rounded_up_to_the_stride(source: Path) -> None:
    about = read_description(exported(source, "onnx", size=(33, 100)))
    assert about.size == (64, 128)  # multiples of 32
    assert about.fixed
    assert about.batch == 1


@pytest.mark.slow
def test_a_file_that_differs_does_not_appear(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fold_wrongly(net: Any, *args: Any) -> None:
        fold(net, *args)
        weight = net.head.classes.predict.weight
        weight.set_data(weight + 0.1)

    monkeypatch.setattr(exporter, "fold", fold_wrongly)
    with pytest.raises(EngineError, match=r"fp32.* scores .*limit 0\.0001"):
        exported(source, "onnx")
    assert [path.name for path in source.parent.iterdir()] == [source.name]


@pytest.mark.slow
def test_a_file_that_gives_nan_does_not_appear(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fold_to_nan(net: Any, *args: Any) -> None:
        fold(net, *args)
        for parameter in net.head.get_parameters():
            parameter.set_data(Tensor(np.full(parameter.shape, np.nan, np.float32)))

    monkeypatch.setattr(exporter, "fold", fold_to_nan)
    with pytest.raises(EngineError, match=r"boxes .*nan px"):
        exported(source, "onnx")


@pytest.mark.slow
def test_impossible_requests_are_refused_first(source: Path) -> None:
    with pytest.raises(DeviceError, match=r"AIR .*Ascend, got CPU"):
        exported(source, "air")
    with pytest.raises(EngineError, match=r"suppression .*ONNX, got mindir"):
        exported(source, "mindir", suppressed=True)


@pytest.mark.slow
def test_suppression_that_differs_is_refused(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(source, "onnx", suppressed=True)

    def write_with_another_rule(path: Path, net: Any, about: Any, *args: Any) -> None:
        if not about.suppressed:
            about = replace(about, detection=replace(about.detection, iou=0.2))
        write_onnx(path, net, about, *args)

    monkeypatch.setattr(exporter, "write_onnx", write_with_another_rule)
    with pytest.raises(EngineError, match=r"postprocess\.py, got \d+ .*image 0"):
        exported(source, "onnx", suppressed=True)
