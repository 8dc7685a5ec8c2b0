"""Engines: which engine runs which file, and the errors if one is missing or fails."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from nasfpn_runtime.errors import CheckpointError, EngineError, MissingPackageError
from nasfpn_runtime.export.onnx_graph import OnnxGraph
from nasfpn_runtime.extras import PACKAGES
from nasfpn_runtime.inference.checksum import write_checksum
from nasfpn_runtime.inference.description import ENTRY, describe
from nasfpn_runtime.inference.engines.registry import ENGINES, engine_of, open_model
from nasfpn_runtime.inference.metadata import read_entries
from nasfpn_runtime.recipe.recipe import load_recipe
from search_space import Genome, MergingCell

GENOME = Genome(tuple(MergingCell(level, "sum", (0, 1, 2)) for level in (3, 4, 5)), (3, 4, 5))
TEXT = describe(load_recipe("bccd-256"), GENOME, ("a",)).to_json()


def write(path: Path, text: str = TEXT) -> Path:
    """Write a file whose boxes are its images times two and whose scores are its images."""
    graph = OnnxGraph(np.dtype(np.float32))
    graph.add("Add", "boxes", "images", "images")
    graph.add("Identity", "scores", "images")
    shape = ("n", 3, 4, 4)
    outputs = {name: (np.float32, shape) for name in ("boxes", "scores")}
    save(graph.model({"images": shape}, outputs, {ENTRY: text}, "1"), path)
    return path


def save(model: onnx.ModelProto, path: Path) -> None:
    """Save a model, with the checksum of its content."""
    onnx.save(model, path)
    write_checksum(path, read_entries(path)[ENTRY])


@pytest.mark.parametrize("engine", [None, "onnxruntime", "openvino"])
def test_an_engine_returns_outputs_in_the_order_of_the_file(
    tmp_path: Path, engine: str | None
) -> None:
    loaded, about = open_model(write(tmp_path / "a.onnx"), engine)
    assert about.to_json() == TEXT
    for count in (2, 1):
        images = np.random.default_rng(0).random((count, 3, 4, 4), np.float32)
        boxes, scores = loaded.run(images)
        np.testing.assert_array_equal(boxes, 2 * images)
        np.testing.assert_array_equal(scores, images)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_error_of_a_runtime_is_reported_in_one_line(tmp_path: Path, engine: str) -> None:
    loaded, _ = open_model(write(tmp_path / "a.onnx"), engine)
    with pytest.raises(
        EngineError, match=rf"{engine} cannot run an input of \(1, 5, 4, 4\): ."
    ) as e:
        loaded.run(np.zeros((1, 5, 4, 4), np.float32))
    assert "\n" not in str(e.value)
    model = onnx.load(tmp_path / "a.onnx")
    model.graph.node[0].op_type = "NoSuchOperator"
    save(model, tmp_path / "a.onnx")
    with pytest.raises(EngineError, match=rf"{engine} cannot run .*a\.onnx: .") as e:
        open_model(tmp_path / "a.onnx", engine)
    assert "\n" not in str(e.value)


def test_a_file_that_is_not_mindir_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mindir").write_bytes(write(tmp_path / "a.onnx").read_bytes())
    with pytest.raises(EngineError, match=r"mindspore cannot run .*a\.mindir: ."):
        open_model(tmp_path / "a.mindir")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "mindspore_lite"])
def test_the_error_for_a_missing_engine_has_the_command_that_installs_it(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix = next(s for s, engines in ENGINES.items() if engine in engines)
    path = write(tmp_path / "a.onnx").rename(tmp_path / f"a{suffix}")
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(MissingPackageError, match=engine) as failure:
        open_model(path, engine)
    assert PACKAGES[engine][1] in str(failure.value)


@pytest.mark.parametrize(
    ("name", "engine", "message"),
    [
        ("a.pth", None, r"\.ckpt, \.mindir, \.onnx, got a\.pth"),
        ("a.onnx", "mindspore", r"onnxruntime or openvino, got mindspore \(at a\.onnx\)"),
        ("a.ckpt", "openvino", r"mindspore, got openvino \(at a\.ckpt\)"),
    ],
)
def test_an_engine_that_does_not_run_such_files_is_refused(
    name: str, engine: str | None, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        engine_of(Path(name), engine)


def test_the_default_engine_is_the_first() -> None:
    for suffix, engines in ENGINES.items():
        assert engine_of(Path(f"a{suffix}")) == engines[0]


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx")
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(CheckpointError, match=r"a\.onnx has no description"):
        open_model(path)


class Lite:
    """The part of mindspore_lite's documented API that the engine uses; doubles its input."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.ModelType = SimpleNamespace(MINDIR="mindir")
        self.Context = lambda: SimpleNamespace(target=[], ascend=SimpleNamespace(device_id=-1))
        self.Model = lambda: self
        self.slot = self.Slot((1, 3, 4, 4))

    class Slot:
        def __init__(self, shape: tuple[int, ...], data: Any = None) -> None:
            self.shape, self.data = list(shape), data

        def set_data_from_numpy(self, data: Any) -> None:
            assert list(data.shape) == self.shape
            self.data = data

        def get_data_to_numpy(self) -> Any:
            return self.data

    def build_from_file(self, path: str, kind: str, context: Any) -> None:
        self.calls.append((path, kind, context.target, context.ascend.device_id))

    def get_inputs(self) -> list[Any]:
        return [self.slot]

    def resize(self, slots: list[Any], shapes: list[list[int]]) -> None:
        self.calls.append(shapes)
        self.slot = self.Slot(tuple(shapes[0]))

    def predict(self, slots: list[Any]) -> list[Any]:
        (slot,) = slots
        return [self.Slot(slot.shape, 2 * slot.data), self.Slot(slot.shape, slot.data)]


def test_mindspore_lite_is_called_as_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite: Any = Lite()
    monkeypatch.setitem(sys.modules, "mindspore_lite", lite)
    path = write(tmp_path / "a.onnx").rename(tmp_path / "a.mindir")
    engine, _ = open_model(path, "mindspore_lite")
    for count in (1, 2):
        images = np.random.default_rng(0).random((count, 3, 4, 4), np.float32)
        boxes, scores = engine.run(images)
        np.testing.assert_array_equal(boxes, 2 * images)
        np.testing.assert_array_equal(scores, images)
    assert lite.calls == [(str(path), "mindir", ["ascend"], 0), [[2, 3, 4, 4]]]
