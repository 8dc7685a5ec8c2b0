"""Write a detector as an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nasfpn_runtime.export.modules import maps
from nasfpn_runtime.export.onnx_boxes import heads
from nasfpn_runtime.export.onnx_graph import OnnxGraph
from nasfpn_runtime.export.onnx_suppression import OUTPUTS, suppress
from nasfpn_runtime.inference.description import Description
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.pictures.boxes import BoxCode, Boxes

_FLOAT16 = 10  # TensorProto.FLOAT16


def write_onnx(
    path: Path,
    net: Network,
    description: Description,
    anchors: Sequence[Boxes],
    code: BoxCode,
) -> None:
    """Write an ONNX file.

    Its input ``images`` is (N, 3, H, W) float32. Its outputs are ``boxes`` (N, A, 4), xyxy in
    pixels of the input, and ``scores`` (N, A, K) after the sigmoid. If the description says
    ``suppressed``, there is a second input and the outputs are detections; see
    :func:`suppress`.

    Args:
        net: the network after ``fold``.
        anchors: for each level, the anchors of its top left location, (anchors, 4) xyxy px.
        code: its bounds on decoded sides are applied.
    """
    import onnx

    half = description.precision == "fp16"
    graph = OnnxGraph(np.dtype(np.float16 if half else np.float32))
    images = graph.add("Cast", "images.half", "images", to=_FLOAT16) if half else "images"
    size = description.size if description.fixed else None
    levels = maps(graph, net, images)
    boxes, scores = heads(graph, net.head, levels, anchors, description, code)
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
        count = "anchors" if size is None else _count_anchors(description)
        shapes = {"boxes": (batch, count, 4), "scores": (batch, count, len(description.names))}
        outputs = {name: (np.float32, shape) for name, shape in shapes.items()}
    onnx.save(graph.model(inputs, outputs, description.entries(), description.version), str(path))


def _count_anchors(description: Description) -> int:
    height, width = description.size
    locations = sum((height >> level) * (width >> level) for level in description.levels)
    return locations * description.anchors
