"""Stratified splits: exact sizes, and every class where it is wanted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from nasfpn_runtime.data.stratify import split_sizes, stratify
from nasfpn_runtime.errors import DataError

SHARES = ((0.8, 0.2), (0.9, 0.1), (0.5, 0.5), (0.7, 0.2, 0.1), (0.34, 0.33, 0.33))

Has = NDArray[np.bool_]


def single(rng: np.random.Generator, least: int, most: int) -> Has:
    """Return pictures with one class at most, in random order; the last group has no class."""
    counts = rng.integers(least, most + 1, rng.integers(2, 9))
    classes = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return np.eye(len(counts), dtype=bool)[classes][:, :-1]


def several(rng: np.random.Generator, pictures: int, classes: int) -> Has:
    """Return pictures with any number of classes, some of which are rare."""
    return rng.random((pictures, classes)) < rng.uniform(0.02, 0.5, classes)


def counts_of(has: Has, places: NDArray[np.int64], splits: int) -> NDArray[np.int64]:
    """Return (classes + 1, splits): pictures of each class and without any."""
    groups = np.column_stack([has, ~has.any(axis=1)])
    return np.stack([groups[places == split].sum(axis=0) for split in range(splits)], axis=1)


@pytest.mark.parametrize("shares", SHARES)
def test_sizes_are_the_shares_rounded_and_add_up(shares: tuple[float, ...]) -> None:
    for pictures in range(len(shares), 300):
        sizes = split_sizes(pictures, shares)
        assert sum(sizes) == pictures
        assert min(sizes) >= 1
        if min(shares) * pictures >= 1:
            assert np.abs(np.array(sizes) - np.array(shares) * pictures).max() < 1


def test_sizes_by_hand() -> None:
    assert split_sizes(2, (0.8, 0.2)) == (1, 1)
    assert split_sizes(10, (0.8, 0.2)) == (8, 2)
    assert split_sizes(10, (0.7, 0.2, 0.1)) == (7, 2, 1)
    assert split_sizes(100, (0.71, 0.29)) == (71, 29)  # though 0.29 * 100 < 29 as a float
    assert split_sizes(7, (0.8, 0.2)) == (6, 1)  # 5.6 and 1.4
    assert split_sizes(3, (0.05, 0.9, 0.05)) == (1, 1, 1)


@pytest.mark.parametrize(("pictures", "shares"), [(0, SHARES[0]), (1, SHARES[0]), (2, SHARES[3])])
def test_too_few_pictures_are_refused(pictures: int, shares: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match=rf"{len(shares)} splits, got {pictures}$"):
        split_sizes(pictures, shares)


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("seed", range(20))
def test_every_picture_is_in_one_split_and_sizes_are_exact(
    shares: tuple[float, ...], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    has = several(rng, int(rng.integers(3, 80)), int(rng.integers(1, 7)))
    sizes = split_sizes(len(has), shares)
    places = stratify(has, sizes, seed)
    assert np.bincount(places, minlength=len(sizes)).tolist() == list(sizes)
    assert (stratify(has, sizes, seed) == places).all()


def test_the_seed_decides_between_pictures_of_one_class() -> None:
    has = np.ones((40, 1), bool)
    assert len({stratify(has, (32, 8), seed).tobytes() for seed in range(10)}) == 10


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("seed", range(40))
def test_each_class_is_within_one_picture_of_its_share(
    shares: tuple[float, ...], seed: int
) -> None:
    """Where pictures have one class at most, and each class is wanted in each split."""
    has = single(np.random.default_rng(seed), 20, 60)
    sizes = split_sizes(len(has), shares)
    counts = counts_of(has, stratify(has, sizes, seed), len(sizes))
    wanted = np.outer(counts.sum(axis=1), sizes) / len(has)
    assert wanted.min() >= 1
    assert np.abs(counts - wanted).max() < 1


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("seed", range(80))
def test_a_class_of_two_pictures_is_in_train_and_in_val(
    shares: tuple[float, ...], seed: int
) -> None:
    """Where pictures have one class at most, and there is room for all classes."""
    has = single(np.random.default_rng(seed), 1, 5)
    many = np.zeros((100, has.shape[1]), bool)
    many[:, 0] = seed % 2  # or without a class
    has = np.concatenate([has, many])  # so that a tenth of the pictures are as many as classes
    sizes = split_sizes(len(has), shares)
    counts = counts_of(has, stratify(has, sizes, seed), len(sizes))
    enough = counts.sum(axis=1) >= 2
    assert min(sizes[:2]) > enough.sum()
    assert (counts[enough, :2] > 0).all()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("pictures", [3, 4, 5, 10])
def test_train_and_val_have_a_class_at_all_if_two_pictures_have(pictures: int, seed: int) -> None:
    """Though there is little room, and more pictures have none."""
    has = np.zeros((pictures, 3), bool)
    has[0, 0] = has[1, seed % 3] = True
    places = stratify(has, (pictures - 1, 1), seed)
    assert sorted(places[:2]) == [0, 1]


@pytest.mark.parametrize("seed", range(30))
def test_no_exchange_would_bring_a_class_to_train_or_val_where_it_is_missing(seed: int) -> None:
    """Of all exchanges of two pictures, none adds a class without taking another one away."""
    rng = np.random.default_rng(seed)
    has = several(rng, int(rng.integers(6, 14)), int(rng.integers(2, 7)))
    sizes = split_sizes(len(has), (0.7, 0.3))
    places = stratify(has, sizes, seed)
    enough = has.sum(axis=0) >= 2

    def present(places: NDArray[np.int64]) -> Has:
        return counts_of(has, places, 2)[:-1][enough] > 0

    before = present(places)
    for first, second in itertools.combinations(range(len(has)), 2):
        other = places.copy()
        other[[first, second]] = places[[second, first]]
        after = present(other)
        assert not ((after & ~before).any() and (after | ~before).all())


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("seed", range(20))
def test_classes_are_spread_better_than_at_random(shares: tuple[float, ...], seed: int) -> None:
    """The mean distance from the share is below that of random splits."""
    rng = np.random.default_rng(seed)
    has = several(rng, 200, 6)
    sizes = split_sizes(len(has), shares)
    wanted = np.outer(np.append(has.sum(axis=0), (~has.any(axis=1)).sum()), sizes) / len(has)

    def distance(places: NDArray[np.int64]) -> float:
        return float(np.abs(counts_of(has, places, len(sizes)) - wanted).mean())

    plain = np.repeat(np.arange(len(sizes)), sizes)
    random = np.mean([distance(rng.permutation(plain)) for _ in range(50)])
    assert distance(stratify(has, sizes, seed)) < 0.8 * random
