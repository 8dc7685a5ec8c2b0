"""Student's t distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student

from controllers.student import half_width, quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 8, 19, 100])
@pytest.mark.parametrize("probability", [0.01, 0.5, 0.6, 0.975, 1 - 0.05 / 30, 0.99999])
def test_quantiles_are_those_of_scipy(probability: float, freedom: int) -> None:
    expected = student.ppf(probability, freedom)
    assert quantile(probability, freedom) == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_one_degree_of_freedom_is_the_cauchy_distribution() -> None:
    """Its distribution function is 1/2 + arctan(t) / pi, so t = tan(0.475 pi) at 0.975."""
    assert quantile(0.975, 1) == pytest.approx(math.tan(0.475 * math.pi), rel=1e-9)


def test_the_half_width_of_two_values() -> None:
    """1 and 3: standard deviation sqrt(2), standard error 1; the factor is the quantile."""
    assert half_width([1.0, 3.0]) == pytest.approx(quantile(0.975, 1))
    assert half_width([1.0, 3.0], 2.5) == pytest.approx(2.5)
    assert half_width(list(np.full(4, 0.7))) == 0
