"""Divide pictures into splits of exact sizes with about the same share of every class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.errors import DataError

_TRIES = 50  # pictures of a class tried for an exchange; one is enough if pictures have one class


def split_sizes(pictures: int, shares: Sequence[float]) -> tuple[int, ...]:
    """Return the number of pictures of each split.

    Each is its share of the pictures, rounded down or up so that the sum is exact, but at
    least 1.

    Args:
        shares: above 0, with the sum 1.

    Raises:
        DataError: there are fewer pictures than splits.
    """
    if pictures < len(shares):
        raise DataError(
            f"a dataset must have at least {len(shares)} images for {len(shares)} splits, "
            f"got {pictures}"
        )
    wanted = np.array(shares) * pictures
    sizes = np.floor(wanted).astype(int)
    nearest = np.argsort(sizes - wanted, kind="stable")
    sizes[nearest[: pictures - sizes.sum()]] += 1
    while sizes.min() < 1:
        sizes[sizes.argmax()] -= 1
        sizes[sizes.argmin()] += 1
    return tuple(sizes.tolist())


def stratify(has: NDArray[np.bool_], sizes: Sequence[int], seed: int) -> NDArray[np.int64]:
    """Return the split of each picture, so that classes are spread in proportion to the sizes.

    This is iterative stratification (Sechidis, Tsoumakas and Vlahavas, On the Stratification of
    Multi-Label Data, ECML PKDD 2011): class after class, the one with the fewest pictures left
    first, and each of its pictures goes where most of the class are still wanted. There are three
    differences. If less than one picture of a class is wanted everywhere, the picture goes to
    the split that is furthest behind in pictures of all kinds. No split gets more pictures than
    its size. At the end pictures are exchanged, so that a class with two pictures or more is in
    the first two splits, and one with as many pictures as there are splits is in all of them, as
    far as this is possible. Pictures without any class count as a class of their own, and so do
    all others together.

    If no picture has two classes, and there are two splits, and no pictures had to be exchanged,
    each class has less than one picture more or less in a split than its share.

    Args:
        has: (N, K), whether a picture has a class.
        sizes: number of pictures of each split, with the sum N; the first two are train and val.
        seed: decides between pictures of the same classes.

    Returns:
        (N,) indices of ``sizes``.
    """
    some = has.any(axis=1, keepdims=True)
    groups = np.concatenate([has, some, ~some], axis=1)
    order = np.random.default_rng(seed).permutation(len(groups))
    division = _Division(groups[order], np.array(sizes, np.int64))
    division.fill()
    division.complete()
    places = np.empty(len(groups), np.int64)
    places[order] = division.places
    return places


class _Division:
    """Pictures while they are divided. Wants are counted in 1 / N pictures, so that they are exact.

    Attributes:
        groups: (N, K), whether a picture belongs to a group; every picture is in one or more.
        places: (N,), the split of each picture; -1 before it has one.
        wants: (K, splits), how many pictures of a group a split still wants, times N.
    """

    def __init__(self, groups: NDArray[np.bool_], sizes: NDArray[np.int64]) -> None:
        self.groups, self.sizes = groups, sizes
        self.places = np.full(len(groups), -1, np.int64)
        self.totals = groups.sum(axis=0, dtype=np.int64)
        self.wants = np.outer(self.totals, sizes)

    def fill(self) -> None:
        """Give every picture a split."""
        room, behind = self.sizes.copy(), np.zeros_like(self.sizes)
        left = self.totals.copy()
        while left.any():
            group = int(np.where(left > 0, left, len(self.groups) + 1).argmin())
            pictures = np.flatnonzero(self.groups[:, group] & (self.places < 0))
            behind += len(pictures) * self.sizes
            for picture in pictures.tolist():
                split = self._choose(self.wants[group], behind, room)
                self._put(picture, split)
                room[split] -= 1
                behind[split] -= len(self.groups)
            left -= self.groups[pictures].sum(axis=0)

    def _choose(
        self, wants: NDArray[np.int64], behind: NDArray[np.int64], room: NDArray[np.int64]
    ) -> int:
        """Return the split that gets a picture of a group that the splits want so much of."""
        one = len(self.groups)
        wants = np.where((wants > 0) & (wants < one), 1, wants)
        most = wants[room > 0].max()
        return int(np.where((wants == most) & (room > 0), behind, behind.min() - 1).argmax())

    def _put(self, picture: int, split: int) -> None:
        if self.places[picture] >= 0:
            self.wants[self.groups[picture], self.places[picture]] += len(self.groups)
        self.places[picture] = split
        self.wants[self.groups[picture], split] -= len(self.groups)

    def complete(self) -> None:
        """Exchange pictures so that no split lacks a group that has enough pictures.

        The last group is that of the pictures without any class.
        """
        enough = self.totals[:, None] >= np.maximum(np.arange(len(self.sizes)) + 1, 2)
        train_and_val = enough & (np.arange(len(self.sizes)) < 2)
        classes = train_and_val.copy()
        classes[-1] = False  # pictures without any class are of less use than the others
        for needed in (classes, train_and_val, enough):  # what matters most comes first
            for split in range(len(self.sizes)):
                for group in np.argsort(self.totals, kind="stable").tolist():
                    if needed[group, split] and not self._counts()[group, split]:
                        self._exchange(group, split, needed)

    def _counts(self) -> NDArray[np.int64]:
        """Return (K, splits): how many pictures of each group each split has."""
        return (np.outer(self.totals, self.sizes) - self.wants) // len(self.groups)

    def _exchange(self, group: int, split: int, needed: NDArray[np.bool_]) -> None:
        """Give a split a picture of a group for one that it can spare, if there are such two."""
        last = needed & (self._counts() == 1)  # the only picture of a group must stay
        givers = np.flatnonzero(self.groups[:, group] & (self.places != split))
        free = ~(self.groups[givers] & last[:, self.places[givers]].T).any(axis=1)
        takers = np.flatnonzero(self.places == split)
        for giver in givers[free][:_TRIES].tolist():
            other = int(self.places[giver])
            kept = last[:, split] & ~self.groups[giver]
            spare = takers[~self.groups[takers][:, kept].any(axis=1)]
            if len(spare):
                # In proportion to how much the squares of what is wanted grow.
                growth = self.wants[:, split] - self.wants[:, other] + len(self.groups)
                taker = int(spare[(self.groups[spare] @ growth).argmin()])
                self._put(giver, split)
                self._put(taker, other)
                return
