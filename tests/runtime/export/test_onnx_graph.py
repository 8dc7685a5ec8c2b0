"""ONNX graphs."""

from __future__ import annotations

import numpy as np
from onnx import helper

from nasfpn_runtime.export.onnx_graph import OnnxGraph


def test_files_have_versions_that_old_runtimes_read() -> None:
    graph = OnnxGraph(np.dtype(np.float32))
    graph.add("Add", "y", "x", graph.constant("one", [1.0]))
    model = graph.model({"x": (1,)}, {"y": (np.float32, (1,))}, {}, "1")
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)
    known = helper.find_min_ir_version_for([helper.make_opsetid("", 13)])
    assert known <= model.ir_version


def test_a_constant_is_added_once() -> None:
    graph = OnnxGraph(np.dtype(np.float16))
    assert graph.integers(0, -1) == graph.integers(0, -1)
    graph.constant("one", 1.0)
    assert [value.dtype for value in graph.constants.values()] == [np.int64, np.float16]
