"""The comparison of detections."""

from __future__ import annotations

import numpy as np

from nasfpn_runtime.export.compare import same
from nasfpn_runtime.inference.postprocess import Detections


def detections(*rows: tuple[float, float, int]) -> Detections:
    """Return squares of 10 px from rows of x, score and label."""
    return Detections(
        np.array([(x, 0, x + 10, 10) for x, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([label for _, _, label in rows], np.int32),
    )


def test_same_allows_only_rounding_and_another_order_of_equal_scores() -> None:
    base = detections((0, 0.9, 0), (20, 0.5, 1), (40, 0.5, 1))
    assert same(base, detections((0.001, 0.90001, 0), (40, 0.5, 1), (20, 0.5, 1)))
    assert same(detections(), detections())
    for other in (
        detections((0, 0.9, 0), (20, 0.5, 1)),
        detections((0, 0.9, 0), (20, 0.5, 1), (40, 0.5, 0)),
        detections((0, 0.9, 0), (20, 0.5, 1), (41, 0.5, 1)),
        detections((0, 0.8, 0), (20, 0.5, 1), (40, 0.5, 1)),
        detections((0, 0.9, 0), (20, 0.5, 1), (20, 0.5, 1)),
    ):
        assert not same(base, other)
