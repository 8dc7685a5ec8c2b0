"""Layouts: nothing overlaps, checked on points of every curve; positions mean what they should."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from search_space.drawing.layout import HALF_ROW, SHAPES, Layout, PlacedNode, Shape, arrange
from search_space.genome import Genome, MergingCell
from search_space.graph import to_graph
from search_space.space import NASFPNSpace

RandomGenome = Callable[[np.random.Generator], Genome]

# Half the width of the thickest line. A highlighted gate has 4 points; a unit has 72 * 0.62.
MARGIN = 0.05


def check(layout: Layout) -> None:
    """Check that discs do not overlap, and that curves avoid other nodes and stay in the grid."""
    for a, b in combinations(layout.nodes, 2):
        gap = np.hypot(a.x - b.x, a.y - b.y) - a.outline.radius - b.outline.radius
        assert gap > MARGIN, (a, b)
    centres = np.array([(node.x, node.y) for node in layout.nodes])
    radii = np.array([node.outline.radius for node in layout.nodes])
    for edge in layout.edges:
        points = edge.points(64)
        gaps = np.hypot(*(points[:, None] - centres).transpose(2, 0, 1)).min(0) - radii
        joined = {edge.source, edge.target}
        near = {n.number for n in layout.nodes if gaps[n.number] < MARGIN}
        assert near <= joined, edge
        source, target = layout.nodes[edge.source], layout.nodes[edge.target]
        check_end(points, source)
        check_end(points[::-1], target)
        assert source.x - 0.02 < points[:, 0].min() <= points[:, 0].max() < target.x + 0.02
        assert points[:, 1].min() > -HALF_ROW - 0.02
        assert points[:, 1].max() < layout.height + HALF_ROW + 0.02


def check_end(points: np.ndarray, node: PlacedNode) -> None:
    """Check that the first point is at the node's border and that no point is inside."""
    x, y = points[:, 0] - node.x, points[:, 1] - node.y
    gaps = np.hypot(x, y) - node.outline.rim(np.arctan2(y, x))
    assert gaps.min() > -1e-3, node
    assert gaps[0] < 0.03, node


@pytest.mark.slow
def test_200_random_genomes_are_clear(random_genome: RandomGenome) -> None:
    rng = np.random.default_rng(0)
    space = NASFPNSpace()
    for number in range(200):
        check(arrange(random_genome(rng) if number % 5 == 0 else space.sample(rng)))


@pytest.mark.parametrize("levels", [(3, 4, 5, 6), tuple(range(1, 11))])
def test_long_genomes_are_clear(levels: tuple[int, ...]) -> None:
    space = NASFPNSpace(levels, 15 - len(levels), levels[1:])
    rng = np.random.default_rng(1)
    for _ in range(3):
        check(arrange(space.sample(rng)))


def test_twenty_cells_of_five_inputs_are_clear() -> None:
    # 15 cells that read all input levels, then outputs that read the last five cells.
    inner = [MergingCell(3 + k % 5, "sum", (0, 1, 2, 3, 4)) for k in range(15)]
    outer = [MergingCell(level, "weighted", tuple(range(15, 20))) for level in range(3, 8)]
    check(arrange(Genome((*inner, *outer))))


@pytest.mark.slow
def test_the_layout_is_the_graph(random_genome: RandomGenome) -> None:
    rng = np.random.default_rng(2)
    for _ in range(30):
        genome = random_genome(rng)
        graph, layout = to_graph(genome), arrange(genome)
        assert {(e.source, e.target): e.role for e in layout.edges} == {
            (a, b): data["role"] for a, b, data in graph.edges(data=True)
        }
        assert [(n.number, n.level, n.op, n.output) for n in layout.nodes] == [
            (n, data["level"], data["op"], data["output"]) for n, data in graph.nodes(data=True)
        ]


@pytest.mark.slow
def test_rows_are_levels_columns_are_cells_and_slopes_are_resamplings(
    random_genome: RandomGenome,
) -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        layout = arrange(random_genome(rng))
        inputs = len(layout.levels)
        columns = [node.x for node in layout.nodes]
        assert columns[:inputs] == [0.0] * inputs
        assert columns[inputs:] == sorted(set(columns[inputs:]))
        for a, b in combinations(layout.nodes, 2):
            assert (a.y < b.y, a.y == b.y) == (a.level < b.level, a.level == b.level)
        for edge in layout.edges:
            rise = layout.nodes[edge.target].y - layout.nodes[edge.source].y
            assert edge.resample == ("same" if rise == 0 else "down" if rise > 0 else "up")


def test_the_layout_is_a_function_of_the_genome(random_genome: RandomGenome) -> None:
    genome = random_genome(np.random.default_rng(4))
    assert arrange(genome) == arrange(genome)


def test_ops_differ_in_shape_and_not_only_in_colour() -> None:
    assert len({(shape.sides, shape.radius) for shape in SHAPES.values()}) == len(SHAPES)


def test_rim_of_a_square() -> None:
    # Corners at 45 degrees, radius 1: the sides are cos(45 deg) = 0.7071 away at 0 degrees.
    square = Shape(4, 1.0, np.pi / 4)
    angles = np.radians([45.0, 0.0, -90.0, 135.0])
    np.testing.assert_allclose(square.rim(angles), [1.0, 0.7071, 0.7071, 1.0], atol=1e-4)
    # With the sides 0.1 further out: 0.8071 at 0 degrees.
    np.testing.assert_allclose(square.grown(0.1).rim(angles[1:2]), 0.8071, atol=1e-4)
