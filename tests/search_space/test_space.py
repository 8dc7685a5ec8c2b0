"""The search space against enumeration: size, decisions, membership, samples, neighbours."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import combinations, product
from math import comb, factorial
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from search_space import (
    Genome,
    GenomeError,
    Level,
    MergingCell,
    NASFPNSpace,
    from_graph,
    from_json,
    from_tf_blocks,
    genome_id,
    to_graph,
    to_json,
    to_tf_blocks,
)

# Small enough to write down every genome and every vector of choices.
SMALL = {
    "three levels": NASFPNSpace(levels=(2, 4, 7), intermediate_cells=0, ops=("attention",)),
    "one op": NASFPNSpace(levels=(3, 4), intermediate_cells=2, ops=("sum",)),
    "two ops": NASFPNSpace(levels=(3, 4), intermediate_cells=1),
    "free levels": NASFPNSpace(
        levels=(3, 4), intermediate_cells=1, intermediate_levels=(4, 3), ops=("weighted", "sum")
    ),
}
LITE = NASFPNSpace(levels=(3, 4, 5, 6), intermediate_cells=11)  # 15 cells on P3..P6

small = pytest.mark.parametrize("space", SMALL.values(), ids=SMALL)


def test_size_of_the_papers_space() -> None:
    # Two cells on one of 4 levels with one of 2 ops, then five outputs in any order with one
    # of 2 ops. Each cell reads two nodes among 5, 6, then 7 to 11.
    inner = (4 * 2 * comb(5, 2)) * (4 * 2 * comb(6, 2))
    outer = factorial(5) * 2**5 * comb(7, 2) * comb(8, 2) * comb(9, 2) * comb(10, 2) * comb(11, 2)
    assert NASFPNSpace().size() == inner * outer == 1_931_334_451_200_000


@small
def test_every_vector_of_choices_is_a_genome_and_size_counts_them(space: NASFPNSpace) -> None:
    decisions = space.decisions()
    vectors = product(*(range(d.size) for d in decisions))
    decoded = Counter(
        space.decode({d.name: c for d, c in zip(decisions, vector, strict=True)})
        for vector in vectors
    )
    assert len(decoded) == space.size()
    assert set(decoded.values()) == {2**space.cells}  # either input may come first
    enumerated = list(space.enumerate())
    assert len(enumerated) == space.size()
    assert set(enumerated) == set(decoded)


@pytest.mark.slow
@small
def test_enumeration_is_the_filter_of_all_possible_genomes(space: NASFPNSpace) -> None:
    """Filter all genomes with this number of binary cells by the membership test."""
    inputs = [combinations(range(len(space.levels) + i), 2) for i in range(space.cells)]
    members = set()
    for pairs in product(*inputs):
        for levels in product(space.levels, repeat=space.cells):
            if set(levels) == set(space.levels):
                for ops in product({*space.ops, "weighted"}, repeat=space.cells):
                    genome = Genome(tuple(map(MergingCell, levels, ops, pairs)), space.levels)
                    if space.contains(genome):
                        members.add(genome)
    assert members == set(space.enumerate())


@pytest.mark.parametrize("space", [NASFPNSpace(), LITE], ids=["paper", "lite"])
def test_decisions_are_static_and_named_by_cell(space: NASFPNSpace) -> None:
    names = [decision.name for decision in space.decisions()]
    cells = range(space.cells)
    expected = [f"cell{i}.{f}" for i in cells for f in ("level", "first", "second", "op")]
    expected.remove(f"cell{space.cells - 1}.level")  # one level remains, so there is no decision
    assert names == expected
    sizes = {decision.name: decision.size for decision in space.decisions()}
    assert sizes["cell0.first"] == len(space.levels)
    assert sizes["cell0.second"] == len(space.levels) - 1
    assert sizes["cell0.level"] == len(space.levels) - 1  # all but the finest
    first_output = space.intermediate_cells
    assert sizes[f"cell{first_output}.level"] == len(space.levels)
    assert sizes[f"cell{first_output + 1}.level"] == len(space.levels) - 1


def test_a_decision_by_hand() -> None:
    space = NASFPNSpace(levels=(3, 4, 5), intermediate_cells=1)
    choices = {
        "cell0.level": 1,  # of levels 4, 5: 5
        "cell0.first": 2,
        "cell0.second": 1,  # of nodes 0, 1: 1
        "cell0.op": 1,  # attention
        "cell1.level": 1,  # of levels 3, 4, 5: 4
        "cell1.first": 0,
        "cell1.second": 2,  # of nodes 1, 2, 3: 3
        "cell1.op": 0,
        "cell2.level": 1,  # of levels 3, 5: 5
        "cell2.first": 4,
        "cell2.second": 3,  # of nodes 0 to 3: 3
        "cell2.op": 0,
        # level 3 is left for cell 3
        "cell3.first": 1,
        "cell3.second": 1,  # of nodes 0, 2, 3, ..: 2
        "cell3.op": 1,
    }
    genome = space.decode(choices)
    assert to_tf_blocks(genome) == [
        (5, "attention", (1, 2), False),
        (4, "sum", (0, 3), True),
        (5, "sum", (3, 4), True),
        (3, "attention", (1, 2), True),
    ]


@pytest.mark.slow
def test_three_thousand_genomes_survive_every_format() -> None:
    space, rng = NASFPNSpace(), np.random.default_rng(4)
    genomes = {space.sample(rng) for _ in range(3_000)}
    assert len(genomes) > 2_990  # 4.5e6 pairs among 1.9e15: a repeat has probability 2e-9
    for genome in genomes:
        assert space.decode(space.encode(genome)) == genome
        assert from_json(to_json(genome)) == genome
        assert from_tf_blocks(to_tf_blocks(genome)) == genome
        assert from_graph(to_graph(genome)) == genome


def test_fifteen_cells_on_four_levels() -> None:
    rng = np.random.default_rng(5)
    for _ in range(100):
        genome = LITE.sample(rng)
        assert LITE.contains(genome)
        assert LITE.decode(LITE.encode(genome)) == genome
        assert LITE.contains(LITE.mutate(genome, rng))


def test_inputs_in_another_order_are_the_same_member() -> None:
    space = NASFPNSpace(levels=(3, 4), intermediate_cells=0)
    there = Genome((MergingCell(3, "attention", (0, 1)), MergingCell(4, "sum", (0, 2))), (3, 4))
    back = Genome((MergingCell(3, "attention", (1, 0)), MergingCell(4, "sum", (2, 0))), (3, 4))
    assert space.contains(back)
    assert space.encode(back) == space.encode(there)
    assert set(space.neighbours(back)) == set(space.neighbours(there))


def _genome(*cells: tuple[int, str, tuple[int, ...]], levels: tuple[int, ...] = (3, 4)) -> Genome:
    return Genome(tuple(MergingCell(*cell) for cell in cells), levels)


MEMBER = ((4, "sum", (0, 1)), (3, "sum", (0, 2)), (4, "attention", (2, 3)))


@pytest.mark.parametrize(
    ("genome", "rule", "path"),
    [
        (_genome(*MEMBER, levels=(3, 4)), None, None),
        (
            _genome((3, "sum", (0, 1)), *MEMBER, (5, "sum", (0, 1)), levels=(3, 4, 5)),
            "(3, 4)",
            "levels",
        ),
        (_genome((3, "sum", (0, 1)), MEMBER[0]), "be 3", "cells"),
        (_genome(*MEMBER[:2], (4, "weighted", (2, 3))), "('sum', 'attention')", "cells[2].op"),
        (_genome(*MEMBER[:2], (4, "sum", (1, 2, 3))), "two inputs", "cells[2].inputs"),
        (_genome((3, "sum", (0, 1)), *MEMBER[1:]), "intermediate cell's level", "cells[0].level"),
        (
            _genome((4, "sum", (0, 1)), (3, "sum", (0, 1)), (3, "sum", (0, 1))),
            "from cell 1 on",
            "cells[1].level",
        ),
        (
            _genome(*MEMBER[:2], (4, "attention", (2, 1))),
            "ascending",
            "cells[2].inputs",
        ),
    ],
)
def test_membership_rules(genome: Genome, rule: str | None, path: str | None) -> None:
    space = NASFPNSpace(levels=(3, 4), intermediate_cells=1)
    error = space.violation(genome)
    assert space.contains(genome) is (rule is None)
    if error is None:
        assert rule is None
        return
    assert rule is not None
    assert rule in error.rule
    assert error.path == path
    rng = np.random.default_rng(6)
    for use in (
        space.encode,
        space.neighbours,
        lambda g: space.mutate(g, rng),
        lambda g: space.crossover(_genome(*MEMBER), g, rng),
    ):
        with pytest.raises(GenomeError, match="at " + path.replace("[", r"\[")):
            use(genome)


@pytest.mark.parametrize(
    ("parameters", "rule", "path"),
    [
        ({"levels": (4, 3)}, "ascending", "levels"),
        ({"levels": (3,)}, "two or more", "levels"),
        ({"levels": (3, 11)}, "1 to 10", "levels[1]"),
        ({"intermediate_cells": -1}, "from 0", "intermediate_cells"),
        ({"intermediate_cells": 1.5}, "integer", "intermediate_cells"),
        ({"intermediate_levels": ()}, "one or more", "intermediate_levels"),
        ({"intermediate_levels": (8,)}, "one or more of", "intermediate_levels"),
        ({"intermediate_levels": (4, 4)}, "each once", "intermediate_levels"),
        ({"ops": ()}, "one or more", "ops"),
        ({"ops": ("sum", "sum")}, "each once", "ops"),
        ({"ops": ("identity",)}, "one or more of", "ops"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, object], rule: str, path: str) -> None:
    with pytest.raises(GenomeError) as caught:
        NASFPNSpace(**parameters)
    assert rule in caught.value.rule
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("change", "path"),
    [({"cell0.op": 2}, "cell0.op"), ({"cell0.op": -1}, "cell0.op"), ({"cell9.op": 0}, "choices")],
)
def test_choices_are_checked(change: dict[str, int], path: str) -> None:
    space = NASFPNSpace()
    choices = dict.fromkeys((d.name for d in space.decisions()), 0)
    space.decode(choices)
    with pytest.raises(GenomeError) as caught:
        space.decode({**choices, **change})
    assert caught.value.path == path
    del choices["cell0.op"]
    with pytest.raises(GenomeError, match=r"'cell0\.op'"):
        space.decode(choices)


def _one_change(a: Genome, b: Genome) -> bool:
    """Return whether two genomes are neighbours, as the docstring defines it."""
    differing = [(x, y) for x, y in zip(a.cells, b.cells, strict=True) if x != y]
    if len(differing) == 1:
        x, y = differing[0]
        shared = len(set(x.inputs) & set(y.inputs))
        return (x.level != y.level) + (x.op != y.op) + (2 - shared) == 1
    if len(differing) == 2:
        (x, y), (v, w) = differing
        swapped = (x.level, v.level) == (w.level, y.level)
        return swapped and (x.op, x.inputs, v.op, v.inputs) == (y.op, y.inputs, w.op, w.inputs)
    return False


@small
def test_neighbours_are_all_genomes_one_change_away(space: NASFPNSpace) -> None:
    genomes = list(space.enumerate())
    rng = np.random.default_rng(7)
    chosen = [genomes[i] for i in rng.choice(len(genomes), min(20, len(genomes)), replace=False)]
    for genome in chosen:
        around = list(space.neighbours(genome))
        assert len(set(around)) == len(around)
        assert set(around) == {other for other in genomes if _one_change(genome, other)}


def test_neighbourhood_of_the_papers_space_is_symmetric() -> None:
    space, rng = NASFPNSpace(), np.random.default_rng(8)
    for _ in range(3):
        genome = space.sample(rng)
        around = list(space.neighbours(genome))
        # Inputs: 2 * (n - 2) for n = 5 to 11; ops: 7; levels: 2 * 3; swaps: 10.
        assert len(set(around)) == len(around) == 2 * sum(range(3, 10)) + 7 + 6 + 10
        for other in around:
            assert space.contains(other)
            assert genome in set(space.neighbours(other))


def test_sample_and_mutate_are_uniform() -> None:
    # A correct implementation fails each of the two tests for one seed in a million.
    space, rng = SMALL["two ops"], np.random.default_rng(9)
    drawn = Counter(space.sample(rng) for _ in range(10 * space.size()))
    counts = [drawn[genome] for genome in space.enumerate()]
    assert sum(counts) == 10 * space.size()
    assert chisquare(counts).pvalue > 1e-6
    genome = space.sample(rng)
    around = list(space.neighbours(genome))
    drawn = Counter(space.mutate(genome, rng) for _ in range(100 * len(around)))
    assert set(drawn) <= set(around)
    assert chisquare([drawn[other] for other in around]).pvalue > 1e-6


def test_crossover_takes_every_cell_from_a_parent() -> None:
    space, rng = NASFPNSpace(), np.random.default_rng(10)
    from_a = Counter[str]()
    for _ in range(300):
        a, b = space.sample(rng), space.sample(rng)
        child = space.crossover(a, b, rng)
        assert space.contains(child)
        inner = space.intermediate_cells
        for c, x, y in zip(child.cells[:inner], a.cells[:inner], b.cells[:inner], strict=True):
            assert c in (x, y)
        for c, x, y in zip(child.cells, a.cells, b.cells, strict=True):
            assert (c.op, c.inputs) in {(x.op, x.inputs), (y.op, y.inputs)}
            from_a["cell"] += (c.op, c.inputs) == (x.op, x.inputs)
        orders = [[cell.level for cell in g.cells[inner:]] for g in (child, a, b)]
        assert orders[0] in orders[1:]
        from_a["order"] += orders[0] == orders[1]
        assert space.crossover(a, a, rng) == a
    # Half of 2100 and of 300, within six standard deviations: sqrt(n) / 2 is 23 and 8.7.
    # Cells that are equal in both parents count for a: at most 1 in 42 on average.
    assert abs(from_a["cell"] - 1050) < 138 + 25
    assert abs(from_a["order"] - 150) < 52 + 3


def test_draws_depend_only_on_the_generator() -> None:
    space = NASFPNSpace()
    a, b = (np.random.default_rng(11) for _ in range(2))
    for _ in range(20):
        genome = space.sample(a)
        assert genome == space.sample(b)
        assert space.mutate(genome, a) == space.mutate(genome, b)


INTEGERS = [np.int8, np.uint8, np.int32, np.int64, np.uint64, lambda value: np.array(value)]


@pytest.mark.parametrize("make", INTEGERS)
def test_numpy_integers_are_integers_and_become_plain(make: Callable[[int], Any]) -> None:
    plain = NASFPNSpace((3, 4, 5), intermediate_cells=1, intermediate_levels=(4,))  # type: ignore[arg-type]
    space = NASFPNSpace(
        tuple(map(make, (3, 4, 5))),
        make(1),
        (make(4),),  # type: ignore[arg-type]
    )
    assert space == plain
    assert type(space.intermediate_cells) is int
    genome = plain.sample(np.random.default_rng(0))
    choices = {name: make(choice) for name, choice in plain.encode(genome).items()}
    decoded = space.decode(choices)
    assert decoded == genome
    assert from_json(to_json(decoded)) == genome
    assert {type(choice) for choice in space.encode(decoded).values()} == {int}
    built = Genome(
        [MergingCell(make(c.level), c.op, tuple(map(make, c.inputs))) for c in genome.cells],  # type: ignore[arg-type]
        tuple(map(make, genome.levels)),
    )
    assert built == genome
    assert {type(i) for c in (*built.cells, *decoded.cells) for i in c.inputs} == {int}
    assert genome_id(built) == genome_id(genome)
    assert to_json(built, {"trial": make(7)}) == to_json(genome, {"trial": 7})


@pytest.mark.parametrize("wrong", [True, np.True_, 1.0, np.float64(1), "1", None, np.array([1])])
def test_what_is_no_integer_is_no_choice_level_input_or_count(wrong: object) -> None:
    space = NASFPNSpace()
    choices: dict[str, Any] = dict.fromkeys((d.name for d in space.decisions()), 0)
    for name in choices:
        with pytest.raises(GenomeError, match=rf"integer .*\(at {re.escape(name)}\)"):
            space.decode({**choices, name: wrong})
    for make in (
        lambda: Level(wrong),  # type: ignore[arg-type]
        lambda: MergingCell(3, "sum", (0, wrong)),  # type: ignore[arg-type]
        lambda: NASFPNSpace(intermediate_cells=wrong),  # type: ignore[arg-type]
    ):
        with pytest.raises(GenomeError, match="integer"):
            make()
