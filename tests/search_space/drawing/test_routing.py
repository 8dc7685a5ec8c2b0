"""Chains of cubic Bezier segments, by hand."""

from __future__ import annotations

import numpy as np

from search_space.drawing.routing import bernstein, sample


def test_cubics_pass_through_their_ends_and_the_known_middle() -> None:
    controls = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    # At t = 1/2 the weights are 1/8, 3/8, 3/8, 1/8: x = 3/8 + 1/8, y = 3/8 + 3/8.
    np.testing.assert_allclose(bernstein(np.array([0.5])) @ controls, [[0.5, 0.75]])
    chain = np.vstack([controls, controls[1:] + np.array([1.0, 0.0])])
    points = sample(chain, 4)
    assert points.shape == (9, 2)
    np.testing.assert_allclose(points[[0, 4, 8]], [[0, 0], [1, 0], [2, 0]])
