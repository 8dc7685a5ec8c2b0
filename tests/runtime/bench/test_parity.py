"""The comparison of exported files with their checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasfpn_runtime.bench.parity import parity
from small_networks import small_recipe

pytestmark = pytest.mark.usefixtures("pynative")


@pytest.mark.slow
def test_parity_has_a_row_for_each_file_and_engine(tmp_path: Path) -> None:
    rows = list(parity(tmp_path, small_recipe("bccd-128", "model.stacks=1"), [(100, 120)], ["fpn"]))
    assert [(r.format, r.precision, r.engine) for r in rows] == [
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
