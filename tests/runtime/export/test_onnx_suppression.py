"""Suppression inside ONNX files: it gives what ``postprocess.py`` gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from nasfpn_runtime.export.compare import same
from nasfpn_runtime.export.onnx_graph import OnnxGraph
from nasfpn_runtime.export.onnx_suppression import suppress
from nasfpn_runtime.inference.postprocess import Detections, choose
from nasfpn_runtime.pictures.image import Placement
from nasfpn_runtime.recipe.settings import DetectionRule

COUNTS = (24, 12, 4)  # boxes of the levels
CLASSES = 3


def session(rule: DetectionRule) -> onnxruntime.InferenceSession:
    """Return a network that is only suppression, of boxes, scores and placements."""
    graph = OnnxGraph(np.dtype(np.float32))
    boxes = [f"boxes{i}" for i in range(len(COUNTS))]
    scores = [f"scores{i}" for i in range(len(COUNTS))]
    suppress(graph, boxes, scores, "placements", rule)
    inputs: dict[str, tuple[int | str, ...]] = {"placements": ("n", 4)}
    inputs |= {name: ("n", count, 4) for name, count in zip(boxes, COUNTS, strict=True)}
    inputs |= {name: ("n", count, CLASSES) for name, count in zip(scores, COUNTS, strict=True)}
    outputs: dict[str, Any] = {"boxes": (np.float32, ("n", "m", 4))}
    outputs |= {"scores": (np.float32, ("n", "m")), "labels": (np.int64, ("n", "m"))}
    model = graph.model(inputs, outputs, {}, "1")
    return onnxruntime.InferenceSession(model.SerializeToString())


def candidates(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return crowded boxes of two images, some outside the image, and scores, some equal."""
    count = sum(COUNTS)
    corner = rng.uniform(-20, 60, (2, count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 50, (2, count, 2))], axis=2)
    scores = rng.integers(0, 40, (2, count, CLASSES)) / 40 + rng.uniform(0, 1e-3)
    return boxes.astype(np.float32), scores.astype(np.float32)


RULES = [
    DetectionRule(score=0.3, maximum=20),
    DetectionRule(score=0.0, iou=0.3, pre_nms=5, maximum=4),
    DetectionRule(score=0.2, iou=0.7, pre_nms=7, pre_nms_per_level=True, maximum=6),
    # The limit of candidates is below the maximum, which is the limit then.
    DetectionRule(score=0.0, iou=0.9, pre_nms=5, maximum=20),
    DetectionRule(score=0.2, iou=0.9, pre_nms=7, pre_nms_per_level=True, maximum=12),
    DetectionRule(
        score=0.1, iou=0.6, pre_nms=None, maximum=3, maximum_per_class=True, inclusive=True
    ),
    DetectionRule(score=0.999),
]


@pytest.mark.parametrize("rule", RULES)
def test_suppression_in_a_file_gives_what_postprocess_gives(rule: DetectionRule) -> None:
    network = session(rule)
    rng = np.random.default_rng(0)
    levels = np.repeat(np.arange(3, 6), COUNTS).astype(np.intp)
    cuts = np.cumsum(COUNTS)[:-1]
    placements = [Placement(0.5, 0.8, 64, 60), Placement(2.0, 1.0, 30, 64)]
    table = np.array([(p.scale_x, p.scale_y, p.height, p.width) for p in placements], np.float32)
    total = 0
    for _ in range(40):
        boxes, scores = candidates(rng)
        feed = {"placements": table}
        for i, (b, s) in enumerate(
            zip(np.split(boxes, cuts, 1), np.split(scores, cuts, 1), strict=True)
        ):
            feed |= {f"boxes{i}": b, f"scores{i}": s}
        outputs = zip(*network.run(None, feed), strict=True)
        for b, s, placement, output in zip(boxes, scores, placements, outputs, strict=True):
            expected = choose(s, b, levels, placement, rule)
            rows = output[2] >= 0
            got = Detections(output[0][rows], output[1][rows], output[2][rows].astype(np.int32))
            assert same(expected, got)
            np.testing.assert_array_equal(got.scores, expected.scores)  # highest first
            assert not output[1][~rows].any()
            total += len(got)
    assert total or rule.score == 0.999
