"""Curves between the nodes of a picture that keep clear of every other node.

Lengths are in picture units, the distance between two neighbouring columns. A curve is
a chain of cubic Bezier segments: ``3 k + 1`` control points, shape ``(3 k + 1, 2)``,
x to the right and y up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.intp]
_Stamp = tuple[Places, Places]

CLEARANCE = 0.08  # between a curve and the rim of a node that it does not join

_BENDS = (0.0, 0.25, -0.25, 0.55, -0.55, 1.0, -1.0)
_LANE_OFFSETS = (0.0, 0.14, -0.14)
_KEPT = 40  # candidates of an edge that compete for free space
_SWEEPS = 3
_PIXEL, _DIRECTIONS = 0.07, 6
_TIP_ZONE = 0.3
_OVERLAP, _NEARNESS = 3.0, 0.3  # price per unit along another curve, and in its way at all


@dataclass(frozen=True)
class Disc:
    """A node as an obstacle: centre and radius."""

    x: float
    y: float
    radius: float


def bernstein(t: Array) -> Array:
    """Weights ``(n, 4)`` of a cubic's control points at parameters ``t`` (n,)."""
    t = t[:, None]
    return np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])


@cache
def _even_weights(count: int) -> Array:
    return bernstein(np.linspace(0.0, 1.0, count + 1))


def sample(curve: Array, per_segment: int) -> Array:
    """Return ``k * per_segment + 1`` points along a curve of ``k`` segments.

    Leading axes are kept: shape ``(..., 3 k + 1, 2)`` gives ``(..., count, 2)``.
    """
    weights = _even_weights(per_segment)
    starts = range(0, curve.shape[-2] - 1, 3)
    parts = [weights[bool(s) :] @ curve[..., s : s + 4, :] for s in starts]
    return np.concatenate(parts, axis=-2)


def route(discs: Sequence[Disc], edges: Sequence[tuple[int, int]]) -> list[Array]:
    """Return a curve from centre to centre for every edge (left node, right node).

    A curve stays ``CLEARANCE`` away from every disc that it does not join, between the
    columns of its ends, and at most half a row above and below all discs. Among such
    curves it prefers short and straight ones that share little ground with the others.
    Discs stand on a grid: one column each, except for the leftmost column.
    """
    centres = np.array([(d.x, d.y) for d in discs])
    radii = np.array([d.radius for d in discs])
    rows = np.unique(centres[:, 1])
    half = float(np.diff(rows).min()) / 2
    lanes = np.concatenate([rows - half, rows[-1:] + half])
    ground = _Ground(centres.min(0) - 2 * half - 0.5, centres.max(0) + 2 * half + 0.5)
    options = [_Options.of(edge, centres, radii, lanes) for edge in edges]
    order = sorted(range(len(edges)), key=lambda i: (round(options[i].chord, 6), edges[i]))
    chosen: dict[int, int] = {}
    for _ in range(_SWEEPS):
        before = dict(chosen)
        for i in order:
            if i in chosen:
                ground.mark(options[i].stamp(ground, chosen[i]), -1)
            costs = options[i].costs + ground.cost(options[i].points, options[i].weights)
            # Rounded, so that the choice does not hang on the last bit of a sum.
            chosen[i] = int(np.argmin(np.round(costs, 6)))
            ground.mark(options[i].stamp(ground, chosen[i]), 1)
        if chosen == before:
            break
    return [options[i].curves[chosen[i]] for i in range(len(edges))]


@dataclass(frozen=True)
class _Options:
    """The candidate curves of one edge, the cheapest first."""

    curves: list[Array]
    points: Array  # (candidates, samples, 2)
    tip: float  # how far from the centre of the target the arrow tip reaches
    weights: Array  # (candidates, samples): how much sharing ground matters there
    costs: Array
    chord: float
    stamps: dict[int, _Stamp] = field(default_factory=dict)

    @classmethod
    def of(cls, edge: tuple[int, int], centres: Array, radii: Array, lanes: Array) -> _Options:
        start, end = centres[edge[0]], centres[edge[1]]
        chord = float(np.hypot(*(end - start)))
        count = 6 + math.ceil(chord)  # samples per third of a curve
        families = [_bends(start, end), _lanes(start, end, lanes)]
        curves = [curve for family in families for curve in family]
        points = np.concatenate(
            [sample(family, count * 3 // (family.shape[-2] // 3)) for family in families]
        )
        low, high = np.array([start[0], lanes[0]]), np.array([end[0], lanes[-1]])
        inside = ((points > low - 0.01) & (points < high + 0.01)).all((1, 2))
        foreign = (centres[:, 0] >= start[0]) & (centres[:, 0] <= end[0])
        foreign[list(edge)] = False
        clear = _keep_clear(points, np.flatnonzero(inside), centres[foreign], radii[foreign])
        costs = _shape_costs(points[clear], chord)
        best = np.argsort(np.round(costs, 6), kind="stable")[:_KEPT]
        if not best.size:
            raise AssertionError(f"no clear curve for edge {edge}")
        kept = clear[best]
        joined = _distances(points[kept], centres[list(edge)]) - radii[list(edge)]
        # At their ends curves are close to each other; above all, tips must not pile up.
        zones = [(joined <= 0).any(-1), joined[..., 1] < _TIP_ZONE, joined[..., 0] < _TIP_ZONE]
        weights = np.select(zones, [0.0, 6.0, 2.0], 1.0)
        tip = float(radii[edge[1]]) + _TIP_ZONE
        return cls([curves[i] for i in kept], points[kept], tip, weights, costs[best], chord)

    def stamp(self, ground: _Ground, index: int) -> _Stamp:
        """Where a candidate marks the ground; computed once."""
        if index not in self.stamps:
            self.stamps[index] = ground.stamp(self.points[index], self.tip)
        return self.stamps[index]


def _keep_clear(points: Array, chosen: Places, centres: Array, radii: Array) -> Places:
    """Those of the chosen curves that stay ``CLEARANCE`` away from all discs."""
    for distances in (_distances, _path_distances):  # the quick one leaves fewer for the exact
        gaps = distances(points[chosen], centres) - radii - CLEARANCE
        chosen = chosen[(gaps > 0).all((1, 2))]
    return chosen


def _distances(points: Array, centres: Array) -> Array:
    """Distances of points ``(..., 2)`` from n centres, shape ``(..., n)``."""
    dx = points[..., 0, None] - centres[:, 0]
    dy = points[..., 1, None] - centres[:, 1]
    distances: Array = np.sqrt(dx * dx + dy * dy)
    return distances


def _path_distances(points: Array, centres: Array) -> Array:
    """Distances of n centres from the segments between points ``(..., m, 2)``.

    Shape ``(..., m - 1, n)``.
    """
    starts, steps = points[..., :-1, :], np.diff(points, axis=-2)
    dx = centres[:, 0] - starts[..., 0, None]
    dy = centres[:, 1] - starts[..., 1, None]
    sx, sy = steps[..., 0, None], steps[..., 1, None]
    square = np.maximum(sx * sx + sy * sy, 1e-12)
    share = np.clip((dx * sx + dy * sy) / square, 0.0, 1.0)
    distances: Array = np.hypot(dx - share * sx, dy - share * sy)
    return distances


def _shape_costs(points: Array, chord: float) -> Array:
    """Detour in units, a price per radian of turning and one for not being straight."""
    steps = np.diff(points, axis=-2)
    lengths = np.sqrt((steps**2).sum(-1))
    angles = np.unwrap(np.arctan2(steps[..., 1], steps[..., 0]), axis=-1)
    turning = np.abs(np.diff(angles, axis=-1)).sum(-1)
    costs: Array = lengths.sum(-1) - chord + 0.3 * turning + 0.2 * (turning > 0.01)
    return costs


def _bends(start: Array, end: Array) -> Array:
    """Single cubics whose inner control points are pushed off the straight line."""
    along = end - start
    across = np.array([-along[1], along[0]]) / np.hypot(*along)
    first, last = (np.array(list(product(_BENDS, _BENDS))).T)[..., None] * across
    fixed = np.zeros_like(first)
    bent = np.stack(
        [fixed + start, start + along / 3 + first, end - along / 3 + last, fixed + end], axis=1
    )
    sideways = np.array([along[0], 0.0])
    level = [
        (start, start + pull * sideways, end - pull * sideways, end)
        for pull in (0.35, 0.5, 0.7, 0.9)
    ]
    return np.concatenate([bent, level])


def _lanes(start: Array, end: Array, lanes: Array) -> Array:
    """Curves that run level between two rows, where no node ever stands.

    They leave and enter through the gap beside a column, which is free as well: every
    edge between columns that are not neighbours has a clear curve among these. Lanes
    out of the way of both ends are left out.
    """
    (low, high), gap = sorted((start[1], end[1])), lanes[1] - lanes[0]
    reached = lanes[(lanes > low - gap) & (lanes < high + gap)]
    (x1, y1), (x2, y2) = start.tolist(), end.tolist()
    reach = min(1.0, (x2 - x1) / 2)
    pull, third = 0.7 * reach, (x2 - x1 - 2 * reach) / 3
    curves = []
    for lane, offset, leave, enter in product(
        reached.tolist(), _LANE_OFFSETS, (0.0, 0.5), (0.0, 0.5)
    ):
        y = lane + offset
        curves.append(
            (
                (x1, y1),
                (x1 + (1 - leave) * pull, y1 + leave * (y - y1)),
                (x1 + reach - pull, y),
                (x1 + reach, y),
                (x1 + reach + third, y),
                (x2 - reach - third, y),
                (x2 - reach, y),
                (x2 - reach + pull, y),
                (x2 - (1 - enter) * pull, y2 + enter * (y - y2)),
                (x2, y2),
            )
        )
    return np.array(curves)


class _Ground:
    """How many curves cover the picture, by place and direction."""

    def __init__(self, low: Array, high: Array) -> None:
        self.low = low
        width, height = np.ceil((high - low) / _PIXEL).astype(int) + 2
        self.lines = np.zeros((width, height, _DIRECTIONS))

    def stamp(self, points: Array, tip: float) -> _Stamp:
        """The pixels of a curve and those beside, in its directions; its tip in all."""
        dense = _refine(points)
        (x, y), direction, _ = self._place(dense)
        dx, dy, turn = np.array(list(product((-1, 0, 1), repeat=3))).T[..., None]
        line = self._flat(x + dx, y + dy, direction + turn)
        near = np.hypot(*(dense[1:] - points[-1]).T) < tip
        head = self._flat(x[near], y[near], np.arange(_DIRECTIONS)[:, None])
        return np.unique(line), np.unique(head)

    def mark(self, stamp: _Stamp, sign: int) -> None:
        """Add (sign 1) or take away (sign -1) one curve."""
        for places, weight in zip(stamp, (1, 3), strict=True):
            self.lines.reshape(-1)[places] += sign * weight

    def _flat(self, x: Places, y: Places, direction: Places) -> Places:
        _, height, directions = self.lines.shape
        return (x * height + y) * directions + direction % directions

    def cost(self, points: Array, weights: Array) -> Array:
        """Price of the ground that each candidate ``(candidates, samples, 2)`` shares."""
        (x, y), direction, lengths = self._place(points)
        here = self.lines[x, y]
        along = np.take_along_axis(here, direction[..., None], -1)[..., 0]
        shared = _OVERLAP * along + _NEARNESS * here.sum(-1)
        price: Array = (shared * lengths * weights[..., 1:]).sum(-1)
        return price

    def _place(self, points: Array) -> tuple[Places, Places, Array]:
        steps = np.diff(points, axis=-2)
        middles = (points[..., 1:, :] + points[..., :-1, :]) / 2
        cells = np.moveaxis(((middles - self.low) / _PIXEL).astype(np.intp), -1, 0)
        angles = np.arctan2(steps[..., 1], steps[..., 0]) / np.pi
        direction = np.floor(angles * _DIRECTIONS + 0.5).astype(np.intp) % _DIRECTIONS
        return cells, direction, np.sqrt((steps**2).sum(-1))


def _refine(points: Array) -> Array:
    """The same path with points less than a pixel apart."""
    lengths = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(points, axis=0) ** 2).sum(-1)))])
    places = np.linspace(0.0, lengths[-1], math.ceil(lengths[-1] / (_PIXEL / 2)) + 1)
    return np.stack([np.interp(places, lengths, points[:, k]) for k in (0, 1)], axis=-1)
