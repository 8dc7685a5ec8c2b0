"""``postprocess.choose`` as ONNX nodes, so that a file's outputs are detections."""

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

    Boxes are xyxy in pixels of the stored pictures, best first; rows that are left over have
    the score 0 and the label -1. M is the most detections that the rule allows.

    Args:
        boxes, scores: of the levels, (N, A_l, 4) px of the input and (N, A_l, K).
        placements: (N, 4) float32: scale x and y, height and width, see ``image.Placement``.
    """
    by_class = [
        graph.add("Transpose", f"nms.level{i}.by_class", x, perm=[0, 2, 1])
        for i, x in enumerate(scores)
    ]
    if rule.pre_nms is not None and rule.pre_nms_per_level:
        by_class = [_best(graph, f"nms.level{i}", x, rule.pre_nms) for i, x in enumerate(by_class)]
    found = graph.add("Concat", "nms.scores", *by_class, axis=2)
    if rule.pre_nms is not None and not rule.pre_nms_per_level:
        found = _best_of_class(graph, "nms.capped", found, rule.pre_nms)
    stored = _stored(graph, graph.add("Concat", "nms.boxes", *boxes, axis=1), placements)
    if not rule.inclusive:
        found = _solid(graph, stored, found)
    kept = _kept(graph, stored, found, rule)
    _listed(graph, stored, kept, rule)


def _best(graph: OnnxGraph, name: str, scores: str, most: int) -> str:
    """Return (N, K, A) with all but the ``most`` best of a picture zero; ties by class."""
    flat = graph.add("Reshape", f"{name}.flat", scores, graph.integers(0, 1, -1))
    capped = _best_of_class(graph, f"{name}.best", flat, most)
    return graph.add("Reshape", f"{name}.capped", capped, _shape(graph, name, scores))


def _best_of_class(graph: OnnxGraph, name: str, scores: str, most: int) -> str:
    """Return (N, K, A) with all but the ``most`` best of each class zero; ties by place."""
    count = _at_most(graph, name, scores, most)
    best, places = graph.add_many("TopK", (f"{name}.best", f"{name}.places"), scores, count)
    nothing = graph.add("Sub", f"{name}.zeros", scores, scores)
    return graph.add("ScatterElements", name, nothing, places, best, axis=2)


def _stored(graph: OnnxGraph, boxes: str, placements: str) -> str:
    """Return boxes clipped to their pictures, in stored pixels."""
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


def _solid(graph: OnnxGraph, boxes: str, scores: str) -> str:
    """Return the scores (N, K, A) with those of boxes without area zero."""
    low, high = (
        graph.add("Slice", f"nms.{what}", boxes, *(graph.integers(n) for n in (a, a + 2, 2)))
        for what, a in (("low", 0), ("high", 2))
    )
    sides = graph.add("Sub", "nms.sides", high, low)
    least = graph.add("ReduceMin", "nms.least", sides, axes=[2], keepdims=0)
    zero = graph.constant("nms.zero", 0, FLOAT32)
    solid = graph.add("Greater", "nms.solid", least, zero)
    mask = graph.add("Unsqueeze", "nms.mask", solid, graph.integers(1))
    return graph.add("Where", "nms.of_solid", mask, scores, zero)


def _kept(graph: OnnxGraph, boxes: str, scores: str, rule: DetectionRule) -> str:
    """Return the scores (N, K, A) with those that are suppressed zero.

    ``maximum`` of each class is enough for ``maximum`` of a picture.
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
    nothing = graph.add("Sub", "nms.nothing", scores, scores)
    return graph.add("ScatterND", "nms.kept", nothing, chosen, values)


def _listed(graph: OnnxGraph, boxes: str, scores: str, rule: DetectionRule) -> None:
    """Add the outputs: the best of all classes, ties by class and then by anchor."""
    flat = graph.add("Reshape", "nms.flat", scores, graph.integers(0, -1))
    most = rule.maximum
    if rule.maximum_per_class:
        classes = _side(graph, "nms.classes", scores, 1)
        wanted = graph.add("Mul", "nms.wanted", classes, graph.integers(most))
        count = _at_most(graph, "nms.list", flat, wanted)
    else:
        count = _at_most(graph, "nms.list", flat, most)
    best, places = graph.add_many("TopK", ("scores", "nms.places"), flat, count)
    per_class = _side(graph, "nms.anchors", scores, 2)
    label = graph.add("Div", "nms.label", places, per_class)
    anchor = graph.add("Mod", "nms.anchor", places, per_class)
    index = graph.add("Unsqueeze", "nms.index", anchor, graph.integers(-1))
    graph.add("GatherND", "boxes", boxes, index, batch_dims=1)
    found = graph.add("Greater", "nms.found", best, graph.constant("nms.zero", 0, FLOAT32))
    graph.add("Where", "labels", found, label, graph.constant("nms.none", -1, INT64))


def _at_most(graph: OnnxGraph, name: str, x: str, most: int | str) -> str:
    """Return the smaller of ``most`` and the last side, a vector of one int64."""
    wanted = graph.integers(most) if isinstance(most, int) else most
    return graph.add("Min", f"{name}.count", wanted, _side(graph, f"{name}.side", x, -1))


def _side(graph: OnnxGraph, name: str, x: str, axis: int) -> str:
    shape = _shape(graph, name, x)
    return graph.add("Gather", name, shape, graph.integers(axis), axis=0)


def _shape(graph: OnnxGraph, name: str, x: str) -> str:
    return graph.add("Shape", f"{name}.shape", x)
