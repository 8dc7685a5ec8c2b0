"""The steps of a plan: the published cell by hand, and what holds for every genome."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import searched_archs
from nasfpn_runtime.plan import Source, Step, make_plan
from search_space import Genome, Level, MergingCell

RandomGenome = Callable[[np.random.Generator], Genome]


def test_the_published_cell_by_hand() -> None:
    # Nodes 0 to 4 are P3 to P7. Nothing uses P5 (2) before node 9 or P7 (4) before node 10.
    plan = make_plan(searched_archs.load("nasfpn"))
    rows = [
        (s.number, s.level, s.op, [(i.node, i.level, i.role) for i in s.sources], s.leftovers)
        for s in plan.steps
    ]
    assert rows == [
        (5, 4, "attention", [(1, 4, "value"), (3, 6, "gate")], ()),
        (6, 4, "sum", [(1, 4, "term"), (5, 4, "term")], ()),
        (7, 3, "sum", [(0, 3, "term"), (6, 4, "term")], ()),
        (8, 4, "sum", [(6, 4, "term"), (7, 3, "term")], ()),
        (9, 5, "attention", [(7, 3, "value"), (8, 4, "gate")], (2,)),
        (10, 7, "attention", [(6, 4, "value"), (9, 5, "gate")], (4,)),
        (11, 6, "attention", [(9, 5, "value"), (10, 7, "gate")], ()),
    ]
    assert plan.levels == (3, 4, 5, 6, 7)
    assert plan.outputs == (7, 8, 9, 11, 10)  # ascending by level, not in order of building


def test_the_first_of_two_equals_is_the_gate() -> None:
    cells = (MergingCell(3, "attention", (1, 0)), MergingCell(4, "attention", (3, 1)))
    cells = (MergingCell(4, "sum", (0, 1)), *cells)
    first, second = make_plan(Genome(cells, (3, 4))).steps[1:]
    assert [s.role for s in first.sources] == ["gate", "value"]
    assert second.sources == (Source(3, Level(3), "value"), Source(1, Level(4), "gate"))


def test_steps_follow_the_cells_of_every_genome(random_genome: RandomGenome) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        genome = random_genome(rng)
        plan = make_plan(genome)
        assert [s.number for s in plan.steps] == list(range(len(genome.levels), _nodes(genome)))
        for step, cell in zip(plan.steps, genome.cells, strict=True):
            assert (step.level, step.op) == (cell.level, cell.op)
            assert tuple(s.node for s in step.sources) == cell.inputs
            _check_sources(genome, step)
        last = {step.level: step.number for step in plan.steps}
        assert plan.outputs == tuple(last[level] for level in genome.levels)
        # A leftover is used nowhere before, on its level, and added once.
        added = [node for step in plan.steps for node in step.leftovers]
        assert len(added) == len(set(added))
        used: set[int] = set()
        for step in plan.steps:
            used |= {source.node for source in step.sources}
            assert not used & set(step.leftovers)
            if step.number in plan.outputs:
                same_level = {n for n in range(step.number) if genome.node_levels[n] == step.level}
                assert same_level <= used | set(added)
            else:
                assert step.leftovers == ()


def _nodes(genome: Genome) -> int:
    return len(genome.levels) + len(genome.cells)


def _check_sources(genome: Genome, step: Step) -> None:
    for source in step.sources:
        assert source.level == genome.node_levels[source.node]
    roles = sorted(source.role for source in step.sources)
    if step.op != "attention":
        assert set(roles) == {"term"}
        return
    assert roles == ["gate", "value"]
    gate, value = sorted(step.sources, key=lambda source: source.role)
    assert gate.level >= value.level
    if gate.level == value.level:
        assert step.sources[0] == gate
