"""The head of an ONNX detector, and the decoding of its boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nasfpn_runtime.export.modules import tower
from nasfpn_runtime.export.onnx_graph import FLOAT32, OnnxGraph
from nasfpn_runtime.inference.description import Description
from nasfpn_runtime.pictures.boxes import CLIPS, BoxCode, Boxes

_FLOAT = 1  # TensorProto.FLOAT


def heads(
    graph: OnnxGraph,
    head: Any,
    maps: Sequence[str],
    anchors: Sequence[Boxes],
    about: Description,
    code: BoxCode,
) -> tuple[list[str], list[str]]:
    """Add both towers; return the boxes and scores of each level, float32.

    Boxes are (N, A, 4) xyxy px of the input, scores (N, A, K).

    Args:
        maps: of the levels, finest first.
        anchors: for each level, the anchors of its top left location, (anchors, 4) xyxy px.
        about: has the levels, and the size if it is fixed; otherwise the graph computes the
            size of each map.
    """
    boxes, scores = [], []
    for index, (x, first, level) in enumerate(zip(maps, anchors, about.levels, strict=True)):
        name, stride, shared = f"p{level}", 1 << level, bool(head.shared)
        classes, offsets = (t if shared else t[index] for t in (head.classes, head.boxes))
        part, norms = ("", index) if shared else (f".{index}", 0)
        logits = tower(graph, classes, f"classes{part}", x, norms, f"{name}.class")
        logits = _reshape(graph, f"{name}.class", logits, [0, -1, classes.outputs])
        scores.append(graph.add("Sigmoid", f"{name}.scores", logits))
        deltas = tower(graph, offsets, f"boxes{part}", x, norms, f"{name}.box")
        deltas = _reshape(graph, f"{name}.box", deltas, [0, -1, len(first), 4])
        grid = (
            _fixed_grid(graph, name, stride, about.size)
            if about.fixed
            else _computed_grid(graph, name, stride, x)
        )
        decoded = _decode(graph, name, deltas, grid, first, code)
        boxes.append(graph.add("Reshape", f"{name}.boxes", decoded, graph.integers(0, -1, 4)))
    return boxes, scores


def _reshape(graph: OnnxGraph, name: str, x: str, shape: list[int]) -> str:
    """Return predictions (N, anchors * k, H, W) in the order (H, W, anchors * k), float32."""
    last = graph.add("Transpose", f"{name}.last", x, perm=[0, 2, 3, 1])
    if graph.dtype != FLOAT32:
        last = graph.add("Cast", f"{name}.float32", last, to=_FLOAT)
    return graph.add("Reshape", f"{name}.rows", last, graph.integers(*shape))


def _decode(
    graph: OnnxGraph, name: str, deltas: str, grid: str, anchors: Boxes, code: BoxCode
) -> str:
    """Return boxes (N, HW, anchors, 4) from offsets (x, y, w, h); see ``boxes.decode``."""
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    side = graph.constant(f"{name}.sides", sides, FLOAT32)
    offset, stretch = (
        graph.add("Slice", f"{name}.{what}", deltas, *(graph.integers(n) for n in (a, a + 2, 3)))
        for what, a in (("offset", 0), ("stretch", 2))
    )
    low, high = CLIPS[code.clip]
    if math.isfinite(low) or math.isfinite(high):
        bounds = [
            graph.constant(f"stretch.{which}", bound, FLOAT32) if math.isfinite(bound) else ""
            for which, bound in (("least", low), ("most", high))
        ]
        stretch = graph.add("Clip", f"{name}.bounded", stretch, *bounds)
    moved = graph.add("Mul", f"{name}.moved", offset, side)
    at = graph.add("Add", f"{name}.anchored", grid, graph.constant(f"{name}.at", centres, FLOAT32))
    centre = graph.add("Add", f"{name}.centre", moved, at)
    grown = graph.add("Exp", f"{name}.grown", stretch)
    half = graph.add(
        "Mul", f"{name}.half", grown, graph.constant(f"{name}.halves", sides / 2, FLOAT32)
    )
    low_corner = graph.add("Sub", f"{name}.low", centre, half)
    high_corner = graph.add("Add", f"{name}.high", centre, half)
    return graph.add("Concat", f"{name}.corners", low_corner, high_corner, axis=3)


def _fixed_grid(graph: OnnxGraph, name: str, stride: int, size: tuple[int, int]) -> str:
    """Return (HW, 1, 2): x and y of the top left corner of every location, in px."""
    y, x = np.mgrid[: size[0] // stride, : size[1] // stride] * stride
    return graph.constant(f"{name}.grid", np.stack([x, y], -1).reshape(-1, 1, 2), FLOAT32)


def _computed_grid(graph: OnnxGraph, name: str, stride: int, x: str) -> str:
    """Return :func:`_fixed_grid` for the map ``x``, computed by the graph."""
    shape = graph.add("Shape", f"{name}.shape", x)
    map_size = graph.add("Slice", f"{name}.map", shape, graph.integers(2), graph.integers(4))
    zero, one = (graph.constant(f"number.{n}", n, np.int64) for n in (0, 1))
    step = graph.constant(f"number.{stride}", stride, np.int64)
    parts = []
    for what, axis, line_shape in (("x", 3, (1, -1)), ("y", 2, (-1, 1))):
        index = graph.constant(f"number.{axis}", axis, np.int64)
        side = graph.add("Gather", f"{name}.{what}.side", shape, index)
        count = graph.add("Range", f"{name}.{what}.range", zero, side, one)
        pixels = graph.add("Mul", f"{name}.{what}.px", count, step)
        line = graph.add("Reshape", f"{name}.{what}.line", pixels, graph.integers(*line_shape))
        full = graph.add("Expand", f"{name}.{what}.full", line, map_size)
        parts.append(graph.add("Reshape", f"{name}.{what}.flat", full, graph.integers(-1, 1, 1)))
    pairs = graph.add("Concat", f"{name}.pairs", *parts, axis=2)
    return graph.add("Cast", f"{name}.grid", pairs, to=_FLOAT)
