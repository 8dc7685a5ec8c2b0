"""Curves between the nodes of a picture that keep clear of all other nodes.

Lengths are in picture units; one unit is the distance between two neighbouring columns. A
curve is a chain of k cubic Bezier segments, given as ``3 k + 1`` control points of shape
``(3 k + 1, 2)``, x to the right and y up.

Each edge gets a set of candidate curves that keep clear of the other nodes. Each in turn
then takes the candidate of least cost: short, straight, and with little overlap with the
curves that the other edges have chosen.
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
Indices = NDArray[np.intp]
_Stamp = tuple[Indices, Indices]

CLEARANCE = 0.08  # least distance from a curve to the rim of a node that it does not join

_BENDS = (0.0, 0.25, -0.25, 0.55, -0.55, 1.0, -1.0)  # offsets of a cubic's inner points
_LANE_OFFSETS = (0.0, 0.14, -0.14)  # offsets from the middle between two rows
_MAX_CANDIDATES = 40  # of one edge
_SWEEPS = 3  # how often each edge chooses, at most
_PIXEL = 0.07  # side of a pixel of the coverage grid
_DIRECTIONS = 6  # of a line through a pixel, over 180 degrees
_TIP_ZONE = 0.3  # distance from a node's rim within which arrow tips lie
_OVERLAP = 3.0  # cost per unit and per curve that covers the pixel in the same direction
_NEARNESS = 0.3  # cost per unit and per curve, summed over all directions it marks


@dataclass(frozen=True)
class Disc:
    """A node as an obstacle: centre and radius."""

    x: float
    y: float
    radius: float


def bernstein(t: Array) -> Array:
    """Return the weights ``(n, 4)`` of a cubic's control points at parameters ``t`` (n,)."""
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

    A curve stays at least ``CLEARANCE`` away from every disc that it does not join, between
    the columns of its ends, and at most half a row above and below all discs. Among such
    curves, short and straight ones that overlap little with the others are preferred.

    Args:
        discs: the nodes on a grid: one column each, except for the leftmost column.
        edges: indices of the discs that each edge joins.
    """
    centres = np.array([(d.x, d.y) for d in discs])
    radii = np.array([d.radius for d in discs])
    rows = np.unique(centres[:, 1])
    half = float(np.diff(rows).min()) / 2
    lanes = np.concatenate([rows - half, rows[-1:] + half])
    coverage = _Coverage(centres.min(0) - 2 * half - 0.5, centres.max(0) + 2 * half + 0.5)
    candidates = [_Candidates.of(edge, centres, radii, lanes) for edge in edges]
    order = sorted(range(len(edges)), key=lambda i: (round(candidates[i].chord, 6), edges[i]))
    chosen: dict[int, int] = {}
    for _ in range(_SWEEPS):
        before = dict(chosen)
        for i in order:
            if i in chosen:
                coverage.mark(candidates[i].stamp(coverage, chosen[i]), -1)
            costs = candidates[i].costs + coverage.cost(candidates[i].points, candidates[i].weights)
            # Rounded, so that the choice does not depend on the last bit of a sum.
            chosen[i] = int(np.argmin(np.round(costs, 6)))
            coverage.mark(candidates[i].stamp(coverage, chosen[i]), 1)
        if chosen == before:
            break
    return [candidates[i].curves[chosen[i]] for i in range(len(edges))]


@dataclass(frozen=True)
class _Candidates:
    """The candidate curves of one edge, the cheapest first.

    Attributes:
        curves: control points of each candidate.
        points: points along each candidate, shape (candidates, samples, 2).
        tip: distance from the centre of the target within which the arrow tip lies.
        weights: how much overlap counts at each point, shape (candidates, samples).
        costs: cost of each candidate's shape.
        chord: distance between the two nodes.
        stamps: the pixels of candidates, by index, once they have been needed.
    """

    curves: list[Array]
    points: Array
    tip: float
    weights: Array
    costs: Array
    chord: float
    stamps: dict[int, _Stamp] = field(default_factory=dict)

    @classmethod
    def of(cls, edge: tuple[int, int], centres: Array, radii: Array, lanes: Array) -> _Candidates:
        start, end = centres[edge[0]], centres[edge[1]]
        chord = float(np.hypot(*(end - start)))
        count = 6 + math.ceil(chord)  # samples per third of a curve
        families = [_bent_curves(start, end), _lane_curves(start, end, lanes)]
        curves = [curve for family in families for curve in family]
        points = np.concatenate(
            [sample(family, count * 3 // (family.shape[-2] // 3)) for family in families]
        )
        low, high = np.array([start[0], lanes[0]]), np.array([end[0], lanes[-1]])
        inside = ((points > low - 0.01) & (points < high + 0.01)).all((1, 2))
        foreign = (centres[:, 0] >= start[0]) & (centres[:, 0] <= end[0])
        foreign[list(edge)] = False
        clear = _keep_clear(points, np.flatnonzero(inside), centres[foreign], radii[foreign])
        costs = _shape_cost(points[clear], chord)
        best = np.argsort(np.round(costs, 6), kind="stable")[:_MAX_CANDIDATES]
        if not best.size:
            raise AssertionError(f"no clear curve for edge {edge}")
        kept = clear[best]
        joined = _distances(points[kept], centres[list(edge)]) - radii[list(edge)]
        # Curves that share a node are close to each other there. Overlap inside the node does
        # not count. Near the source it counts double, and near the target sixfold, because
        # arrow tips must not overlap.
        zones = [(joined <= 0).any(-1), joined[..., 1] < _TIP_ZONE, joined[..., 0] < _TIP_ZONE]
        weights = np.select(zones, [0.0, 6.0, 2.0], 1.0)
        tip = float(radii[edge[1]]) + _TIP_ZONE
        return cls([curves[i] for i in kept], points[kept], tip, weights, costs[best], chord)

    def stamp(self, coverage: _Coverage, index: int) -> _Stamp:
        """Return the pixels that a candidate marks; computed once."""
        if index not in self.stamps:
            self.stamps[index] = coverage.stamp(self.points[index], self.tip)
        return self.stamps[index]


def _keep_clear(points: Array, chosen: Indices, centres: Array, radii: Array) -> Indices:
    """Return those of the chosen curves that stay ``CLEARANCE`` away from all discs.

    Args:
        points: points along all curves, shape (curves, samples, 2).
        chosen: indices of curves.
        centres: centres of the discs.
        radii: their radii.
    """
    # The fast test of points leaves fewer curves for the exact test of segments.
    for distances in (_distances, _path_distances):
        gaps = distances(points[chosen], centres) - radii - CLEARANCE
        chosen = chosen[(gaps > 0).all((1, 2))]
    return chosen


def _distances(points: Array, centres: Array) -> Array:
    """Return the distances of points ``(..., 2)`` from n centres, shape ``(..., n)``."""
    dx = points[..., 0, None] - centres[:, 0]
    dy = points[..., 1, None] - centres[:, 1]
    distances: Array = np.sqrt(dx * dx + dy * dy)
    return distances


def _path_distances(points: Array, centres: Array) -> Array:
    """Return the distances of n centres from the segments between points ``(..., m, 2)``.

    The result has the shape ``(..., m - 1, n)``.
    """
    starts, steps = points[..., :-1, :], np.diff(points, axis=-2)
    dx = centres[:, 0] - starts[..., 0, None]
    dy = centres[:, 1] - starts[..., 1, None]
    sx, sy = steps[..., 0, None], steps[..., 1, None]
    square = np.maximum(sx * sx + sy * sy, 1e-12)
    fraction = np.clip((dx * sx + dy * sy) / square, 0.0, 1.0)
    distances: Array = np.hypot(dx - fraction * sx, dy - fraction * sy)
    return distances


def _shape_cost(points: Array, chord: float) -> Array:
    """Return the cost of each curve's shape.

    It is the sum of the detour in units, a cost per radian of turning, and a fixed cost for
    any curve that is not straight.
    """
    steps = np.diff(points, axis=-2)
    lengths = np.sqrt((steps**2).sum(-1))
    angles = np.unwrap(np.arctan2(steps[..., 1], steps[..., 0]), axis=-1)
    turning = np.abs(np.diff(angles, axis=-1)).sum(-1)
    costs: Array = lengths.sum(-1) - chord + 0.3 * turning + 0.2 * (turning > 0.01)
    return costs


def _bent_curves(start: Array, end: Array) -> Array:
    """Return single cubics, as candidates.

    Most have their inner control points moved off the straight line; the last four leave
    and enter horizontally.
    """
    along = end - start
    across = np.array([-along[1], along[0]]) / np.hypot(*along)
    first, last = (np.array(list(product(_BENDS, _BENDS))).T)[..., None] * across
    fixed = np.zeros_like(first)
    bent = np.stack(
        [fixed + start, start + along / 3 + first, end - along / 3 + last, fixed + end], axis=1
    )
    sideways = np.array([along[0], 0.0])
    horizontal = [
        (start, start + pull * sideways, end - pull * sideways, end)
        for pull in (0.35, 0.5, 0.7, 0.9)
    ]
    return np.concatenate([bent, horizontal])


def _lane_curves(start: Array, end: Array, lanes: Array) -> Array:
    """Return curves that run horizontally in a lane between two rows, as candidates.

    There is never a node between two rows, nor in the gap beside a column through which
    these curves leave and enter. So every edge between columns that are not neighbours has
    a clear curve among them. Only lanes near the rows of both ends, or between them, are
    used.
    """
    (low, high), gap = sorted((start[1], end[1])), lanes[1] - lanes[0]
    near = lanes[(lanes > low - gap) & (lanes < high + gap)]
    (x1, y1), (x2, y2) = start.tolist(), end.tolist()
    reach = min(1.0, (x2 - x1) / 2)
    pull, third = 0.7 * reach, (x2 - x1 - 2 * reach) / 3
    curves = []
    for lane, offset, leave, enter in product(near.tolist(), _LANE_OFFSETS, (0.0, 0.5), (0.0, 0.5)):
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


class _Coverage:
    """A grid that counts the curves through each pixel of the picture, by direction.

    Attributes:
        low: lower left corner of the grid.
        lines: the counts, shape (width, height, directions).
    """

    def __init__(self, low: Array, high: Array) -> None:
        self.low = low
        width, height = np.ceil((high - low) / _PIXEL).astype(int) + 2
        self.lines = np.zeros((width, height, _DIRECTIONS))

    def stamp(self, points: Array, tip: float) -> _Stamp:
        """Return the pixels that a curve marks, as flat indices of ``lines``.

        First those of the curve: its pixels and their neighbours, in its direction and the
        two next to that. Second those of the tip: its pixels, in all directions.
        """
        dense = _densify(points)
        (x, y), direction, _ = self._locate(dense)
        dx, dy, turn = np.array(list(product((-1, 0, 1), repeat=3))).T[..., None]
        line = self._flat_indices(x + dx, y + dy, direction + turn)
        near = np.hypot(*(dense[1:] - points[-1]).T) < tip
        head = self._flat_indices(x[near], y[near], np.arange(_DIRECTIONS)[:, None])
        return np.unique(line), np.unique(head)

    def mark(self, stamp: _Stamp, sign: int) -> None:
        """Add (sign 1) or remove (sign -1) one curve."""
        for indices, weight in zip(stamp, (1, 3), strict=True):
            self.lines.reshape(-1)[indices] += sign * weight

    def _flat_indices(self, x: Indices, y: Indices, direction: Indices) -> Indices:
        _, height, directions = self.lines.shape
        return (x * height + y) * directions + direction % directions

    def cost(self, points: Array, weights: Array) -> Array:
        """Return the cost of each candidate's overlap with the curves in the grid.

        Args:
            points: points along each candidate, shape (candidates, samples, 2).
            weights: how much overlap counts at each point, shape (candidates, samples).
        """
        (x, y), direction, lengths = self._locate(points)
        here = self.lines[x, y]
        along = np.take_along_axis(here, direction[..., None], -1)[..., 0]
        overlap = _OVERLAP * along + _NEARNESS * here.sum(-1)
        costs: Array = (overlap * lengths * weights[..., 1:]).sum(-1)
        return costs

    def _locate(self, points: Array) -> tuple[Indices, Indices, Array]:
        """Return the pixel (x, y), the direction and the length of each segment of paths."""
        steps = np.diff(points, axis=-2)
        middles = (points[..., 1:, :] + points[..., :-1, :]) / 2
        pixels = np.moveaxis(((middles - self.low) / _PIXEL).astype(np.intp), -1, 0)
        angles = np.arctan2(steps[..., 1], steps[..., 0]) / np.pi
        direction = np.floor(angles * _DIRECTIONS + 0.5).astype(np.intp) % _DIRECTIONS
        return pixels, direction, np.sqrt((steps**2).sum(-1))


def _densify(points: Array) -> Array:
    """Return the same path with points less than a pixel apart."""
    lengths = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(points, axis=0) ** 2).sum(-1)))])
    offsets = np.linspace(0.0, lengths[-1], math.ceil(lengths[-1] / (_PIXEL / 2)) + 1)
    return np.stack([np.interp(offsets, lengths, points[:, k]) for k in (0, 1)], axis=-1)
