"""``postprocess.choose`` as ONNX nodes, for files whose outputs are detections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasfpn_runtime.export.onnx_graph import FLOAT32, OnnxGraph
from nasfpn_runtime.recipe.settings import DetectionRule

OUTPUTS = ("boxes", "scores", "labels")
INT64 = np.dtype(np.int64)


def suppress(
    graph: OnnxGraph,
    boxes: Sequence[str],
    scores: Sequence[str],
    placements: str,
    rule: DetectionRule,
) -> None:
    """Add the outputs ``boxes`` (N, M, 4), ``scores`` (N, M) and ``labels`` (N, M) int64.

    Boxes are xyxy in pixels of the stored images, highest score first. M is the largest number
    of detections that the rule allows; unused rows have the score 0 and the label -1.

    Args:
        boxes, scores: of each level, (N, A_l, 4) px of the input and (N, A_l, K).
        placements: (N, 4) float32: scale x, scale y, height and width; see
            ``image.Placement``.
        rule: the detection rule.
    """
    by_class = [
        graph.add("Transpose", f"nms.level{i}.by_class", x, perm=[0, 2, 1])
        for i, x in enumerate(scores)
    ]
    most = rule.candidates
    if most is not None and rule.pre_nms_per_level:
        by_class = [_cap(graph, f"nms.level{i}", x, most) for i, x in enumerate(by_class)]
    candidates = graph.add("Concat", "nms.scores", *by_class, axis=2)
    if most is not None and not rule.pre_nms_per_level:
        candidates = _cap_each_class(graph, "nms.capped", candidates, most)
    stored = _to_stored(graph, graph.add("Concat", "nms.boxes", *boxes, axis=1), placements)
    if not rule.inclusive:
        candidates = _drop_empty(graph, stored, candidates)
    kept = _apply_nms(graph, stored, candidates, rule)
    _add_outputs(graph, stored, kept, rule)


def _cap(graph: OnnxGraph, name: str, scores: str, most: int) -> str:
    """Set all scores (N, K, A) but the ``most`` highest of each image to 0; ties go by class."""
    flat = graph.add("Reshape", f"{name}.flat", scores, graph.integers(0, 1, -1))
    capped = _cap_each_class(graph, f"{name}.best", flat, most)
    return graph.add("Reshape", f"{name}.capped", capped, _shape(graph, name, scores))


def _cap_each_class(graph: OnnxGraph, name: str, scores: str, most: int) -> str:
    """Set all scores (N, K, A) but the ``most`` highest of each class to 0; ties go by anchor."""
    count = _at_most(graph, name, scores, most)
    best, indices = graph.add_many("TopK", (f"{name}.best", f"{name}.places"), scores, count)
    zeros = graph.add("Sub", f"{name}.zeros", scores, scores)
    return graph.add("ScatterElements", name, zeros, indices, best, axis=2)


def _to_stored(graph: OnnxGraph, boxes: str, placements: str) -> str:
    """Return boxes clipped to their images, in pixels of the stored images."""
    limits, scales = (
        graph.add(
            "Unsqueeze",
            f"nms.{what}",
            graph.add("Gather", f"nms.{what}.of", placements, graph.integers(*columns), axis=1),
            graph.integers(1),
        )
        for what, columns in (("limits", (3, 2, 3, 2)), ("scales", (0, 1, 0, 1)))
    )
    zero = graph.constant("nms.zero", 0, FLOAT32)
    inside = graph.add("Min", "nms.inside", graph.add("Max", "nms.after", boxes, zero), limits)
    return graph.add("Div", "nms.stored", inside, scales)


def _drop_empty(graph: OnnxGraph, boxes: str, scores: str) -> str:
    """Set the scores (N, K, A) of boxes without area to 0."""
    low, high = (
        graph.add("Slice", f"nms.{what}", boxes, *(graph.integers(n) for n in (a, a + 2, 2)))
        for what, a in (("low", 0), ("high", 2))
    )
    sides = graph.add("Sub", "nms.sides", high, low)
    shortest = graph.add("ReduceMin", "nms.least", sides, axes=[2], keepdims=0)
    zero = graph.constant("nms.zero", 0, FLOAT32)
    has_area = graph.add("Greater", "nms.solid", shortest, zero)
    mask = graph.add("Unsqueeze", "nms.mask", has_area, graph.integers(1))
    return graph.add("Where", "nms.of_solid", mask, scores, zero)


def _apply_nms(graph: OnnxGraph, boxes: str, scores: str, rule: DetectionRule) -> str:
    """Set the scores (N, K, A) that are suppressed to 0.

    ``maximum`` detections of each class suffice for ``maximum`` detections of an image.
    """
    if rule.inclusive:
        boxes = graph.add(
            "Add", "nms.inclusive", boxes, graph.constant("nms.pixel", [0, 0, 1, 1], FLOAT32)
        )
    chosen = graph.add(
        "NonMaxSuppression",
        "nms.chosen",
        boxes,
        scores,
        graph.integers(rule.maximum),
        graph.constant("nms.iou", [rule.iou], FLOAT32),
        graph.constant("nms.score", [rule.score], FLOAT32),
    )
    values = graph.add("GatherND", "nms.chosen.scores", scores, chosen)
    zeros = graph.add("Sub", "nms.nothing", scores, scores)
    return graph.add("ScatterND", "nms.kept", zeros, chosen, values)


def _add_outputs(graph: OnnxGraph, boxes: str, scores: str, rule: DetectionRule) -> None:
    """Add the outputs: the highest scores of all classes; ties go by class, then by anchor."""
    flat = graph.add("Reshape", "nms.flat", scores, graph.integers(0, -1))
    most = rule.maximum
    if rule.maximum_per_class:
        classes = _side(graph, "nms.classes", scores, 1)
        most_of_all = graph.add("Mul", "nms.wanted", classes, graph.integers(most))
        count = _at_most(graph, "nms.list", flat, most_of_all)
    else:
        count = _at_most(graph, "nms.list", flat, most)
    best, indices = graph.add_many("TopK", ("scores", "nms.places"), flat, count)
    per_class = _side(graph, "nms.anchors", scores, 2)
    label = graph.add("Div", "nms.label", indices, per_class)
    anchor = graph.add("Mod", "nms.anchor", indices, per_class)
    index = graph.add("Unsqueeze", "nms.index", anchor, graph.integers(-1))
    graph.add("GatherND", "boxes", boxes, index, batch_dims=1)
    is_used = graph.add("Greater", "nms.found", best, graph.constant("nms.zero", 0, FLOAT32))
    graph.add("Where", "labels", is_used, label, graph.constant("nms.none", -1, INT64))


def _at_most(graph: OnnxGraph, name: str, x: str, most: int | str) -> str:
    """Return the smaller of ``most`` and the last side of ``x``, as a vector of one int64."""
    limit = graph.integers(most) if isinstance(most, int) else most
    return graph.add("Min", f"{name}.count", limit, _side(graph, f"{name}.side", x, -1))


def _side(graph: OnnxGraph, name: str, x: str, axis: int) -> str:
    """Return one side of the shape of ``x``, as a vector of one int64."""
    shape = _shape(graph, name, x)
    return graph.add("Gather", name, shape, graph.integers(axis), axis=0)


def _shape(graph: OnnxGraph, name: str, x: str) -> str:
    return graph.add("Shape", f"{name}.shape", x)
