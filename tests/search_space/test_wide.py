"""The wide space against enumeration: size, decisions, membership, samples, neighbours."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product
from math import comb, factorial

import numpy as np
import pytest
from scipy.stats import chisquare

import searched_archs
from search_space import (
    Genome,
    GenomeError,
    Level,
    MergingCell,
    NASFPNSpace,
    WideSpace,
    from_json,
    to_json,
)

P34 = (Level(3), Level(4))
P345 = (*P34, Level(5))
OPS = ("sum", "attention", "weighted", "identity")

# Small enough to write down every genome.
SMALL = {
    "no slots": WideSpace(P34, 0),
    "one slot": WideSpace(P34, 1),
    "three levels": WideSpace(P345, 0, ops=("weighted",)),
    "free levels": WideSpace(P34, 1, P34, ("identity", "sum")),
    "two slots": WideSpace(P34, 2, ops=("attention",)),
}
MIDDLE = WideSpace(P345, 2)  # too large for that
small = pytest.mark.parametrize("space", SMALL.values(), ids=SMALL)
sampled = pytest.mark.parametrize("space", [WideSpace(), MIDDLE, *SMALL.values()])


def _genome(*cells: tuple[int, str, tuple[int, ...]], levels: tuple[int, ...] = (3, 4)) -> Genome:
    return Genome(
        tuple(MergingCell(Level(level), op, inputs) for level, op, inputs in cells),
        tuple(map(Level, levels)),
    )


def _used(genome: Genome) -> int:
    return len(genome.cells) - len(genome.levels)


def test_size_by_hand() -> None:
    """Levels 3 and 4. A cell that may read n nodes has 3 ops of 2 of them, and an output 1 of 1."""
    without = (3 * comb(2, 2) + 2) * (3 * comb(3, 2) + 3)
    one = 3 * comb(2, 2) * (3 * comb(3, 2) + 3) * (3 * comb(4, 2) + 4)
    assert SMALL["no slots"].size() == 2 * without == 120
    assert SMALL["one slot"].size() == 2 * (without + one) == 1704


def test_size_of_the_default_space() -> None:
    """Sums and weighted sums have 2 to 5 inputs, attention 2; only outputs have one input."""

    def merges(nodes: int) -> int:
        return 2 * sum(comb(nodes, count) for count in (2, 3, 4, 5)) + comb(nodes, 2)

    total = 0
    for used in range(5):
        product_ = 4**used * factorial(5)
        for nodes in range(5, 10 + used):
            product_ *= merges(nodes) + nodes * (nodes >= 5 + used)
        total += product_
    assert WideSpace().size() == total == 891_166_527_621_145_979_520_600_165_120


@pytest.mark.parametrize("name", ["no slots", "one slot", "free levels"])
def test_enumeration_is_the_filter_of_all_possible_genomes(name: str) -> None:
    """Filter all genomes with ascending inputs and so many cells by the membership test."""
    space, members = SMALL[name], set()
    for used in range(space.intermediate_cells + 1):
        merges = [
            [
                (op, inputs)
                for count in (1, 2, 3)
                for inputs in combinations(range(len(space.levels) + index), count)
                for op in OPS
                if (op == "identity") == (count == 1) and (op != "attention" or count == 2)
            ]
            for index in range(used + len(space.levels))
        ]
        for chosen in product(*merges):
            for levels in product(space.levels, repeat=len(merges)):
                if set(levels) == set(space.levels):
                    cells = zip(levels, chosen, strict=True)
                    genome = _genome(*((a, *merge) for a, merge in cells), levels=space.levels)
                    if space.contains(genome):
                        members.add(genome)
    assert members == set(space.enumerate())


@small
def test_enumeration_has_as_many_genomes_as_the_size_says(space: WideSpace) -> None:
    enumerated = list(space.enumerate())
    assert len(enumerated) == len(set(enumerated)) == space.size()


@pytest.mark.parametrize(
    "space", [SMALL["no slots"], WideSpace(P34, 1, ops=("attention", "identity"))], ids=str
)
def test_every_vector_of_choices_is_a_genome_and_all_genomes_have_one(space: WideSpace) -> None:
    decisions = space.decisions()
    vectors = product(*(range(d.size) for d in decisions))
    names = [d.name for d in decisions]
    decoded = {space.decode(dict(zip(names, vector, strict=True))) for vector in vectors}
    assert decoded == set(space.enumerate())


@sampled
def test_choices_of_a_genome_are_canonical(space: WideSpace) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        choices = {d.name: int(rng.integers(d.size)) for d in space.decisions()}
        genome = space.decode(choices)
        assert space.contains(genome)
        encoded = space.encode(genome)
        assert list(encoded) == list(choices)
        assert space.decode(encoded) == genome == from_json(to_json(genome))
        for slot in range(_used(genome), space.intermediate_cells):
            assert not any(v for name, v in encoded.items() if name.startswith(f"cell{slot}."))
        assert sum(v > 0 for n, v in encoded.items() if ".more" in n) == sum(
            max(len(cell.inputs) - 2, 0) for cell in genome.cells
        )


def test_every_shipped_genome_is_a_member() -> None:
    for name in searched_archs.names():
        genome = searched_archs.load(name)
        space = WideSpace(genome.levels)
        assert space.violation(genome) is None, name
        assert space.decode(space.encode(genome)) == genome


def test_genomes_of_the_papers_space_are_members() -> None:
    rng, paper, wide = np.random.default_rng(1), NASFPNSpace(), WideSpace()
    assert all(wide.contains(paper.sample(rng)) for _ in range(200))


def test_decisions_are_static_and_named() -> None:
    space = WideSpace(P345, 1)
    sizes = {decision.name: decision.size for decision in space.decisions()}
    assert sizes == {
        "cells": 2,
        **{"cell0.level": 2, "cell0.op": 3, "cell0.input1": 3, "cell0.input2": 3},
        **{"cell0.more3": 2, "cell0.input3": 3},
        **{"output0.level": 3, "output0.op": 4, "output0.input1": 4, "output0.input2": 4},
        **{"output0.more3": 2, "output0.input3": 4},
        **{"output1.level": 2, "output1.op": 4, "output1.input1": 5, "output1.input2": 5},
        **{"output1.more3": 2, "output1.input3": 5},
        **{"output2.op": 4, "output2.input1": 6, "output2.input2": 6},
        **{"output2.more3": 2, "output2.input3": 6},
    }
    assert list(sizes)[:5] == ["cells", "cell0.level", "cell0.op", "cell0.input1", "cell0.input2"]


def test_a_decision_by_hand() -> None:
    """By slot, nodes 0 to 2 are the levels, 3 and 4 the slots for cells, 5 to 7 the outputs."""
    space = WideSpace(P345, 2)
    choices = {decision.name: 1 for decision in space.decisions()}
    changed = {
        "cells": 1,
        "cell0.level": 1,  # of levels 4, 5: 5
        "cell0.op": 0,  # sum
        "cell0.input1": 2,
        "cell0.input2": 2,  # is read, so the next after node 2: 0
        "cell0.more3": 0,
        "output0.level": 1,  # of levels 3, 4, 5: 4
        "output0.op": 2,  # weighted
        "output0.input1": 4,  # the unused slot 1: input level 1
        "output0.input2": 3,
        "output0.more3": 1,
        "output0.input3": 3,  # is read, and the last node before output0, so the next is 0
        "output1.level": 1,  # of levels 3, 5: 5
        "output1.op": 3,  # identity
        "output1.input1": 5,  # output0, which is node 4 of the genome
        "output2.op": 1,  # attention has two inputs, whatever more3 is
        "output2.input1": 6,
        "output2.input2": 0,
    }
    assert space.decode({**choices, **changed}) == _genome(
        (5, "sum", (0, 2)),
        (4, "weighted", (0, 1, 3)),
        (5, "identity", (4,)),
        (3, "attention", (0, 5)),
        levels=(3, 4, 5),
    )


def test_inputs_in_another_order_are_the_same_member() -> None:
    there = _genome((3, "weighted", (0, 1)), (4, "sum", (0, 2)))
    back = _genome((3, "weighted", (1, 0)), (4, "sum", (2, 0)))
    space = SMALL["no slots"]
    assert space.encode(back) == space.encode(there)
    assert set(space.neighbours(back)) == set(space.neighbours(there))


OUTPUTS = ((3, "sum", (0, 1)), (4, "identity", (1,)))


@pytest.mark.parametrize(
    ("genome", "rule", "path"),
    [
        (_genome(*OUTPUTS, (5, "sum", (0, 1)), levels=(3, 4, 5)), "(3, 4)", "levels"),
        (_genome(*[(4, "sum", (0, 1))] * 3, *OUTPUTS), "from 2 to 4", "cells"),
        (_genome((3, "sum", (0, 1)), (4, "attention", (0, 1))), "identity", "cells[1].op"),
        (_genome((4, "identity", (0,)), *OUTPUTS), "('sum', 'weighted')", "cells[0].op"),
        (_genome(OUTPUTS[0], (4, "sum", (0, 1, 2))), "at most 2", "cells[1].inputs"),
        (_genome((3, "sum", (0, 1)), *OUTPUTS), "intermediate cell's level", "cells[0].level"),
        (_genome((4, "sum", (0, 1)), OUTPUTS[1], *OUTPUTS), "('sum', 'weighted')", "cells[1].op"),
    ],
)
def test_membership_rules(genome: Genome, rule: str, path: str) -> None:
    space = WideSpace(P34, 2, ops=("sum", "weighted", "identity"))
    error = space.violation(genome)
    assert error is not None
    assert rule in error.rule
    assert error.path == path
    rng = np.random.default_rng(2)
    for use in (space.encode, space.neighbours, lambda g: space.mutate(g, rng)):
        with pytest.raises(GenomeError) as caught:
            use(genome)
        assert caught.value.path == path


def test_outputs_come_last_and_tied_attention_ascends() -> None:
    space = WideSpace(P345, 2)
    early = _genome(
        (4, "sum", (0, 1)),
        (5, "sum", (0, 1)),
        (3, "sum", (0, 1)),
        (3, "sum", (0, 1)),
        levels=(3, 4, 5),
    )
    error = space.violation(early)
    assert error is not None
    assert error.path == "cells[2].level"
    member = [(5, "sum", (0, 1)), (3, "sum", (0, 1)), (4, "sum", (0, 1))]
    for inputs, path in (((2, 3), None), ((3, 2), "cells[3].inputs")):
        error = space.violation(_genome(*member, (5, "attention", inputs), levels=(3, 4, 5)))
        assert (error and error.path) == path


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"levels": (4, 3)}, "levels"),
        ({"intermediate_cells": -1}, "intermediate_cells"),
        ({"intermediate_levels": (8,)}, "intermediate_levels"),
        ({"ops": ()}, "ops"),
        ({"ops": ("max",)}, "ops"),
        ({"ops": ("identity",)}, "ops"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, object], path: str) -> None:
    with pytest.raises(GenomeError) as caught:
        WideSpace(**parameters)  # type: ignore[arg-type]
    assert caught.value.path == path


def _one_change(space: WideSpace, a: Genome, b: Genome) -> bool:
    """Return whether two genomes are neighbours, as the kinds of ``wide_moves`` define it."""
    if _used(a) != _used(b):
        less, more = sorted((a, b), key=_used)
        return _used(more) == _used(less) + 1 and _without_last(more) == less
    differing = [(x, y) for x, y in zip(a.cells, b.cells, strict=True) if x != y]
    if len(differing) == 2:
        (x, y), (v, w) = differing
        swapped = (x.level, v.level) == (w.level, y.level)
        return swapped and (x.op, x.inputs, v.op, v.inputs) == (y.op, y.inputs, w.op, w.inputs)
    if len(differing) != 1:
        return False
    ((x, y),) = differing
    if x.level != y.level:
        return (x.op, x.inputs) == (y.op, y.inputs)
    common = len(set(x.inputs) & set(y.inputs))
    if x.op == y.op:  # one replaced, or one more
        return common == len(x.inputs) - 1 == len(y.inputs) - 1 or (
            common == min(len(x.inputs), len(y.inputs)) and abs(len(x.inputs) - len(y.inputs)) == 1
        )
    if x.inputs == y.inputs:
        return True
    counts = sorted((len(x.inputs), len(y.inputs)))
    return "identity" in (x.op, y.op) and counts == [1, 2] and common == 1


def _without_last(genome: Genome) -> Genome | None:
    """Return the genome without its last intermediate cell, None if it cannot be removed."""
    last = _used(genome) - 1
    number, cell = len(genome.levels) + last, genome.cells[last]
    readers = [c for c in genome.cells if number in c.inputs]
    if len(cell.inputs) != 2 or len(readers) > 1:
        return None
    cells = list(genome.cells[:last])
    for other in genome.cells[last + 1 :]:
        inputs = {min(cell.inputs) if node == number else node for node in other.inputs}
        if len(inputs) < len(other.inputs):
            return None
        moved = tuple(sorted(node - (node > number) for node in inputs))
        cells.append(MergingCell(other.level, other.op, moved))
    return Genome(tuple(cells), genome.levels)


@small
def test_neighbours_are_all_genomes_one_change_away(space: WideSpace) -> None:
    genomes = list(space.enumerate())
    rng = np.random.default_rng(3)
    for index in rng.choice(len(genomes), min(25, len(genomes)), replace=False):
        around = list(space.neighbours(genomes[index]))
        assert len(set(around)) == len(around)
        assert set(around) == {g for g in genomes if _one_change(space, genomes[index], g)}


@pytest.mark.slow
@small
def test_steps_lead_from_any_genome_to_any_other(space: WideSpace) -> None:
    left = set(space.enumerate())
    reached = [left.pop()]
    while reached:
        fresh = left.intersection(space.neighbours(reached.pop()))
        left -= fresh
        reached += fresh
    assert not left


@pytest.mark.parametrize("space", [WideSpace(), MIDDLE], ids=["default", "middle"])
def test_neighbourhood_is_symmetric(space: WideSpace) -> None:
    rng = np.random.default_rng(4)
    removed = 0
    while removed < 3:  # few cells can be removed
        genome = space.sample(rng)
        around = list(space.neighbours(genome))
        assert len({*around, genome}) == len(around) + 1
        fewer = [other for other in around if len(other.cells) < len(genome.cells)]
        removed += len(fewer)
        for other in (*fewer, *(around[i] for i in rng.choice(len(around), 2, replace=False))):
            assert space.contains(other)
            assert genome in set(space.neighbours(other))


def test_mutants_are_neighbours_of_kinds_equally_often() -> None:
    """Of a genome with all seven kinds, each kind has 1/7 of the mutants, in 0.1 % of seeds not."""
    space, rng = WideSpace(P345, 2), np.random.default_rng(5)
    genome = _genome(
        (4, "sum", (0, 1)),
        (3, "sum", (0, 1, 2)),
        (4, "identity", (1,)),
        (5, "attention", (2, 3)),
        levels=(3, 4, 5),
    )
    around = set(space.neighbours(genome))
    kinds = Counter[object]()
    for _ in range(2100):
        mutant = space.mutate(genome, rng)
        assert mutant in around
        if len(mutant.cells) != len(genome.cells):
            kinds[len(mutant.cells)] += 1
            continue
        pairs = [(x, y) for x, y in zip(genome.cells, mutant.cells, strict=True) if x != y]
        (x, y) = pairs[0]
        if x.level != y.level:
            kinds["level"] += 1
        elif x.op != y.op:
            kinds["op"] += 1
        else:
            kinds[f"inputs {len(y.inputs) - len(x.inputs)}"] += 1
    assert len(kinds) == 7
    assert chisquare(list(kinds.values())).pvalue > 1e-3


@pytest.mark.slow
def test_samples_have_the_stated_distribution() -> None:
    """A correct implementation fails for one seed in a million."""
    space, rng = SMALL["one slot"], np.random.default_rng(6)
    expected = {}
    for genome in space.enumerate():
        chance = 1 / 2 / factorial(2)  # of the number of cells, and of the order of the outputs
        for index, cell in enumerate(genome.cells):
            nodes = len(space.levels) + index
            ops = 3 if index < _used(genome) else 4
            chance /= ops * comb(nodes, len(cell.inputs))
        expected[genome] = 20_000 * chance
    assert sum(expected.values()) == pytest.approx(20_000)
    drawn = Counter(space.sample(rng) for _ in range(20_000))
    assert chisquare([drawn[g] for g in expected], list(expected.values())).pvalue > 1e-6


@pytest.mark.parametrize("even", [True, False], ids=["even choices", "sample"])
def test_samples_are_not_dominated_by_large_cells_or_identities(even: bool) -> None:
    """Six standard deviations of the shares, for 1,500 genomes."""
    space, rng = WideSpace(), np.random.default_rng(7)
    counts, ops, used = Counter[int](), Counter[str](), Counter[int]()
    for _ in range(1500):
        choices = {d.name: int(rng.integers(d.size)) for d in space.decisions()}
        genome = space.decode(choices) if even else space.sample(rng)
        used[_used(genome)] += 1
        ops.update(cell.op for cell in genome.cells[-5:])
        counts.update(len(c.inputs) for c in genome.cells if c.op in ("sum", "weighted"))
    for number in range(5):
        assert used[number] / 1500 == pytest.approx(1 / 5, abs=0.062)
    for op in OPS:
        assert ops[op] / 7500 == pytest.approx(1 / 4, abs=0.03)
    for number, share in {2: 1 / 2, 3: 1 / 4, 4: 1 / 8, 5: 1 / 8}.items():
        assert counts[number] / counts.total() == pytest.approx(share, abs=0.04)


def _by_slot(space: WideSpace, genome: Genome) -> list[MergingCell | None]:
    """Return the cell in each slot, with nodes numbered by slot."""
    used = _used(genome)
    first_output, unused = len(space.levels) + used, space.intermediate_cells - used
    moved = [
        MergingCell(
            cell.level, cell.op, tuple(n + unused * (n >= first_output) for n in cell.inputs)
        )
        for cell in genome.cells
    ]
    return [*moved[:used], *[None] * unused, *moved[used:]]


@sampled
def test_a_child_has_the_cells_of_its_parents(space: WideSpace) -> None:
    rng = np.random.default_rng(8)
    for _ in range(40):
        a, b = space.sample(rng), space.sample(rng)
        child = space.crossover(a, b, rng)
        assert space.contains(child)
        assert _used(child) in (_used(a), _used(b))
        orders = [[cell.level for cell in g.cells[_used(g) :]] for g in (child, a, b)]
        assert orders[0] in orders[1:]
        slots = [_by_slot(space, genome) for genome in (child, a, b)]
        for slot, (cell, *given) in enumerate(zip(*slots, strict=True)):
            if cell is None:
                continue
            sources = [source for source in given if source is not None]
            if slot < space.intermediate_cells:
                assert cell in sources
            else:
                shapes = {(source.op, len(source.inputs)) for source in sources}
                assert (cell.op, len(cell.inputs)) in shapes
                if _used(a) == _used(b):
                    pairs = {(source.op, source.inputs) for source in sources}
                    assert (cell.op, cell.inputs) in pairs
        assert space.crossover(a, a, rng) == a


def test_draws_depend_only_on_the_generator() -> None:
    space = WideSpace()
    a, b = (np.random.default_rng(9) for _ in range(2))
    for _ in range(10):
        one, other = space.sample(a), space.sample(a)
        assert (one, other) == (space.sample(b), space.sample(b))
        assert space.mutate(one, a) == space.mutate(one, b)
        assert space.crossover(one, other, a) == space.crossover(one, other, b)
