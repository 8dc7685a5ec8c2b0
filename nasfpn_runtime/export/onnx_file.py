"""A detector as an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nasfpn_runtime.export.modules import maps
from nasfpn_runtime.export.onnx_boxes import heads
from nasfpn_runtime.export.onnx_graph import OnnxGraph
from nasfpn_runtime.export.onnx_suppression import OUTPUTS, suppress
from nasfpn_runtime.inference.description import ENTRY, Description
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.pictures.boxes import BoxCode, Boxes

_FLOAT16 = 10  # TensorProto.FLOAT16


def write_onnx(
    path: Path,
    net: Network,
    description: Description,
    cells: Sequence[Boxes],
    code: BoxCode,
) -> None:
    """Write a file that takes ``images`` (N, 3, H, W) float32 and gives boxes and scores.

    ``boxes`` (N, A, 4) are xyxy in pixels of the input, ``scores`` (N, A, K) after the
    sigmoid. Where the description says ``suppressed`` there is a second input and the
    outputs are detections, see :func:`suppress`.

    Args:
        net: after ``fold``.
        cells: anchors of the place at the top left of each level, (anchors, 4) xyxy px.
    """
    import onnx

    half = description.precision == "fp16"
    graph = OnnxGraph(np.dtype(np.float16 if half else np.float32))
    images = graph.add("Cast", "images.half", "images", to=_FLOAT16) if half else "images"
    size = description.size if description.fixed else None
    found = maps(graph, net, images)
    boxes, scores = heads(graph, net.head, found, cells, description, code)
    batch = description.batch or "batch"
    inputs: dict[str, Sequence[int | str]] = {
        "images": (batch, 3, *(size or ("height", "width"))),
    }
    outputs: dict[str, tuple[type, Sequence[int | str]]]
    if description.suppressed:
        inputs["placements"] = (batch, 4)
        suppress(graph, boxes, scores, "placements", description.detection)
        shapes = {"boxes": (batch, "found", 4), "scores": (batch, "found")}
        outputs = {name: (np.float32, shape) for name, shape in shapes.items()}
        outputs[OUTPUTS[2]] = (np.int64, (batch, "found"))
    else:
        graph.add("Concat", "boxes", *boxes, axis=1)
        graph.add("Concat", "scores", *scores, axis=1)
        count = "anchors" if size is None else _count(description)
        shapes = {"boxes": (batch, count, 4), "scores": (batch, count, len(description.names))}
        outputs = {name: (np.float32, shape) for name, shape in shapes.items()}
    metadata = {ENTRY: description.to_json()}
    onnx.save(graph.model(inputs, outputs, metadata, description.version), str(path))


def _count(description: Description) -> int:
    height, width = description.size
    places = sum((height >> level) * (width >> level) for level in description.levels)
    return places * description.anchors
