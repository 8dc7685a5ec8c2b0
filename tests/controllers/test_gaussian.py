"""The Gaussian process: against dense formulas, numerical integration, and without noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controllers.arrays import GenomeArrays
from controllers.gaussian import (
    LENGTHS,
    NOISES,
    SHARES,
    Features,
    Kernel,
    Posterior,
    expected_improvement,
    fit,
)
from search_space import NASFPNSpace

ARRAYS = GenomeArrays(NASFPNSpace())
KERNEL = Kernel(share=0.6, facts=12.0, graph=40.0, noise=0.2)


def features(count: int, seed: int) -> Features:
    rows = ARRAYS.random(count, np.random.default_rng(seed))
    return Features(ARRAYS.facts(rows), ARRAYS.graph(rows))


def brute_force(kernel: Kernel, a: Features, b: Features) -> np.ndarray:
    def one(i: int, j: int) -> float:
        facts = np.abs(a.facts[i] - b.facts[j]).sum() / kernel.facts
        graph = np.abs(a.graph[i] - b.graph[j]).sum() / kernel.graph
        return float(kernel.share * np.exp(-facts) + (1 - kernel.share) * np.exp(-graph))

    return np.asarray([[one(i, j) for j in range(len(b.facts))] for i in range(len(a.facts))])


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_the_kernel_counts_the_bits_that_differ(share: float) -> None:
    kernel = replace(KERNEL, share=share)
    a, b = features(7, 0), features(5, 1)
    np.testing.assert_allclose(kernel(a, b), brute_force(kernel, a, b), atol=1e-12)
    np.testing.assert_allclose(kernel(a, a).diagonal(), 1)


def test_the_posterior_is_the_dense_formula() -> None:
    """Rasmussen and Williams 2006, equations 2.25 and 2.26, after the mean is taken off."""
    known, asked = features(30, 2), features(9, 3)
    values = np.random.default_rng(4).normal(0.2, 0.05, 30)
    inverse = np.linalg.inv(brute_force(KERNEL, known, known) + KERNEL.noise * np.eye(30))
    mean = inverse.sum(0) @ values / inverse.sum()
    variance = (values - mean) @ inverse @ (values - mean) / 30
    cross = brute_force(KERNEL, asked, known)
    posterior = Posterior(KERNEL, known, values)
    means, sds = posterior.at(asked)
    np.testing.assert_allclose(means, mean + cross @ inverse @ (values - mean))
    np.testing.assert_allclose(sds**2, variance * (1 - (cross @ inverse * cross).sum(1)))


def test_without_noise_the_posterior_goes_through_the_values() -> None:
    known = features(20, 5)
    values = np.random.default_rng(6).normal(size=20)
    means, sds = Posterior(replace(KERNEL, noise=1e-10), known, values).at(known)
    np.testing.assert_allclose(means, values, atol=1e-6)
    assert sds.max() < 1e-3


def test_scale_and_shift_of_values_change_nothing_else() -> None:
    known, asked = features(25, 7), features(5, 8)
    values = np.random.default_rng(9).normal(size=25)
    assert fit(known, values) == fit(known, 1e9 * values - 3e9)
    (means, sds), (other_means, other_sds) = (
        Posterior(KERNEL, known, given).at(asked) for given in (values, 1e9 * values - 3e9)
    )
    np.testing.assert_allclose(1e9 * means - 3e9, other_means)
    np.testing.assert_allclose(1e9 * sds, other_sds)


@pytest.mark.slow
def test_fit_finds_the_greatest_likelihood_of_the_grid() -> None:
    known = features(25, 10)
    values = np.random.default_rng(11).normal(size=25)

    def likelihood(kernel: Kernel) -> float:
        """Of a normal distribution with the best mean and variance."""
        matrix = brute_force(kernel, known, known) + kernel.noise * np.eye(25)
        inverse = np.linalg.inv(matrix)
        mean = inverse.sum(0) @ values / inverse.sum()
        variance = (values - mean) @ inverse @ (values - mean) / 25
        return float(-np.linalg.slogdet(2 * np.pi * variance * matrix)[1] / 2 - 25 / 2)

    best = likelihood(fit(known, values))
    grid = [
        likelihood(Kernel(share, one, other, noise))
        for share in SHARES
        for one in LENGTHS[::2]
        for other in LENGTHS[::2]
        for noise in NOISES
    ]
    assert best >= max(grid) - 1e-9


@pytest.mark.slow
def test_fit_tells_noise_from_structure() -> None:
    """Half of the genomes are near each other: far ones alone do not tell the two apart."""
    rng = np.random.default_rng(13)
    rows = ARRAYS.random(60, rng)
    rows = np.concatenate([rows, ARRAYS.mutate(np.repeat(rows[:10], 6, 0), rng)])
    known = Features(ARRAYS.facts(rows), ARRAYS.graph(rows))
    kernel = Kernel(0.6, LENGTHS[1], LENGTHS[1], NOISES[0])
    root = np.linalg.cholesky(kernel(known, known) + 1e-9 * np.eye(120))
    drawn = [fit(known, root @ rng.normal(size=120)).noise for _ in range(15)]
    noise = [fit(known, rng.normal(size=120)).noise for _ in range(15)]
    assert np.median(drawn) == NOISES[0]
    assert np.median(noise) >= 1


def test_expected_improvement_is_the_integral() -> None:
    rng = np.random.default_rng(14)
    mean, sd = rng.normal(size=20), rng.uniform(0.1, 2, 20)
    best = 0.3
    for m, s, given in zip(mean, sd, expected_improvement(mean, sd, best), strict=True):
        f = np.linspace(m - 12 * s, m + 12 * s, 200_001)
        density = np.exp(-(((f - m) / s) ** 2) / 2) / (s * np.sqrt(2 * np.pi))
        integral = (np.maximum(f - best, 0) * density).sum() * (f[1] - f[0])
        assert given == pytest.approx(integral, abs=1e-6)


def test_equal_values_leave_every_genome_as_good() -> None:
    known, asked = features(12, 15), features(6, 16)
    means, sds = Posterior(KERNEL, known, np.full(12, 0.2)).at(asked)
    np.testing.assert_allclose(means, 0.2)
    assert (expected_improvement(means, sds, 0.2) > 0).all()
