"""Student's t distribution: quantiles and intervals of means, without SciPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=1024)
def quantile(probability: float, freedom: int) -> float:
    """Return the value that a variable of Student's t does not exceed with this probability.

    Args:
        probability: above 0 and below 1.
        freedom: degrees of freedom, 1 or more.
    """
    if probability < 0.5:
        return -quantile(1 - probability, freedom)
    central = 2 * probability - 1  # probability of values between -t and t
    low, high = 0.0, math.pi / 2  # the angle arctan(t / sqrt(freedom)), on which _central is smooth
    for _ in range(60):  # halves the interval to the precision of a float
        middle = (low + high) / 2
        low, high = (middle, high) if _central(middle, freedom) < central else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def half_width(values: Sequence[float], factor: float | None = None) -> float:
    """Return half the width of an interval of the mean of independent values.

    Args:
        values: two or more.
        factor: the interval is the mean plus and minus so many standard errors; by default it is
            the 95% interval by Student's t.
    """
    factor = quantile(0.975, len(values) - 1) if factor is None else factor
    return factor * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def _central(angle: float, freedom: int) -> float:
    """Return the probability of values between -t and t, with ``tan(angle) = t / sqrt(freedom)``.

    It is the finite sum of Abramowitz and Stegun, 26.7.3 (odd) and 26.7.4 (even).
    """
    square, odd = math.cos(angle) ** 2, freedom % 2
    term = math.sin(angle) * (math.cos(angle) if odd else 1.0)
    total = 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= square * k / (k + 1)
    return 2 / math.pi * (angle + total) if odd else total
