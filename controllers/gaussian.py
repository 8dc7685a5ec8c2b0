"""A Gaussian process over genomes: kernel, hyperparameters, posterior, expected improvement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# The grid of the marginal likelihood. Lengths are in bits that differ.
SHARES = (0.0, 0.2, 0.6, 1.0)
LENGTHS = (10.0, 30.0, 90.0)
NOISES = (0.01, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Features:
    """Two descriptions of the same genomes, as zeros and ones: shape (genomes, bits) each.

    They may be float32, which counts bits exactly and is faster.
    """

    facts: Array
    graph: Array

    def take(self, rows: Any) -> Features:
        """Return the features of some of the genomes."""
        return Features(self.facts[rows], self.graph[rows])

    def join(self, other: Features) -> Features:
        """Return the features of these genomes, then of the others."""
        pairs = (self.facts, other.facts), (self.graph, other.graph)
        return Features(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True)
class Kernel:
    """A sum of two Laplace kernels of the number of bits that differ; 1 for equal genomes.

    Attributes:
        share: weight of the kernel on the facts; the other has the rest.
        facts: length scale of the kernel on the facts, in bits.
        graph: length scale of the kernel on the graph properties, in bits.
        noise: variance of the noise, relative to that of the function.
    """

    share: float
    facts: float
    graph: float
    noise: float

    def __call__(self, a: Features, b: Features) -> Array:
        """Return the correlations of the function, shape (genomes of a, genomes of b)."""
        result = np.zeros((len(a.facts), len(b.facts)))
        if self.share > 0:
            result += self.share * np.exp(-_differences(a.facts, b.facts) / self.facts)
        if self.share < 1:
            result += (1 - self.share) * np.exp(-_differences(a.graph, b.graph) / self.graph)
        return result


def fit(features: Features, values: Array) -> Kernel:
    """Return the kernel of the grid with the greatest marginal likelihood of the values.

    Mean and variance of the process are those with the greatest likelihood, for each kernel.
    """
    distances = (
        _differences(features.facts, features.facts),
        _differences(features.graph, features.graph),
    )
    shapes = [[np.exp(-distance / length) for length in LENGTHS] for distance in distances]
    best, found = -math.inf, Kernel(0.5, LENGTHS[0], LENGTHS[0], NOISES[0])
    indices = range(len(LENGTHS))
    for share, one, other in product(SHARES, indices, indices):
        if (share == 0 and one) or (share == 1 and other):
            continue  # the length of a kernel without weight
        matrix = share * shapes[0][one] + (1 - share) * shapes[1][other]
        scales, vectors = np.linalg.eigh(matrix)
        sums, projected = vectors.sum(0), values @ vectors
        for noise in NOISES:
            likelihood = _likelihood(np.maximum(scales, 0) + noise, sums, projected)
            if likelihood > best + 1e-9:
                best, found = likelihood, Kernel(share, LENGTHS[one], LENGTHS[other], noise)
    return found


class Posterior:
    """What the values say about the function.

    The mean of the process is a constant, estimated by generalised least squares, and its variance
    the one with the greatest likelihood.

    Args:
        kernel: see :func:`fit`.
        features: of the genomes that have values.
        values: shape (genomes,); with noise.
    """

    def __init__(self, kernel: Kernel, features: Features, values: Array) -> None:
        self.kernel, self.features = kernel, features
        matrix = kernel(features, features) + kernel.noise * np.eye(len(values))
        self._whiten = np.linalg.inv(np.linalg.cholesky(matrix))
        ones, given = self._whiten.sum(1), self._whiten @ values
        self.mean = float(ones @ given / (ones @ ones))
        rest = given - self.mean * ones
        # Equal values say nothing about the variance, and leave every genome equally good.
        self.variance = float(rest @ rest) / len(values) or 1.0
        self._weights = self._whiten.T @ rest

    def at(self, features: Features) -> tuple[Array, Array]:
        """Return mean and standard deviation of the function, without noise, at genomes.

        Both have the shape (genomes,). The standard deviation is above 0.
        """
        cross = self.kernel(features, self.features)
        spread = 1 - ((self._whiten @ cross.T) ** 2).sum(0)
        return (
            self.mean + cross @ self._weights,
            np.sqrt(self.variance * np.maximum(spread, 1e-12)),
        )

    def means(self, features: Features) -> Array:
        """Return the means of :meth:`at` alone, which take much less time."""
        result: Array = self.mean + self.kernel(features, self.features) @ self._weights
        return result


def expected_improvement(mean: Array, sd: Array, best: float) -> Array:
    """Return the expectation of max(f - best, 0) for normal f (Jones et al. 1998, equation 15).

    Args:
        mean, sd: of f at each genome, shape (genomes,); sd above 0.
        best: what is to be improved.
    """
    z = (mean - best) / sd
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    below = np.asarray([math.erfc(-x / math.sqrt(2)) / 2 for x in z])
    result: Array = (mean - best) * below + sd * density
    return result


def _likelihood(scales: Array, sums: Array, projected: Array) -> float:
    """Return the log marginal likelihood, up to a constant, in the basis of the eigenvectors."""
    mean = (sums * projected / scales).sum() / (sums**2 / scales).sum()
    variance = ((projected - mean * sums) ** 2 / scales).mean()
    return float(-(len(scales) * math.log(variance + 1e-300) + np.log(scales).sum()) / 2)


def _differences(a: Array, b: Array) -> Array:
    """Return how many bits differ, shape (rows of a, rows of b)."""
    result: Array = (a.sum(1)[:, None] + b.sum(1) - 2 * a @ b.T).astype(np.float64)
    return result


def argbest(values: Sequence[float] | Array, count: int) -> Array:
    """Return the indices of the largest values, the first of equals first."""
    order: Array = np.argsort(-np.asarray(values), kind="stable")[:count]
    return order
