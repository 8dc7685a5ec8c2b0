"""Rows of any space are its genomes, and their features say what the genomes are."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest

from controllers import GPSampler
from controllers.arrays import GenomeArrays
from controllers.samplers import Record
from controllers.slot_arrays import SlotArrays
from search_space import Genome, NASFPNSpace, SearchSpace, WideSpace, to_graph
from search_space.wiring import LEFTOVER, wire
from synthetic import SPACE, WIDE, reward

SPACES: dict[str, SearchSpace] = {
    "small": WIDE,
    "default": WideSpace(),
    "no slots": WideSpace((3, 4), 0, ops=("sum", "identity")),  # type: ignore[arg-type]
    "paper": NASFPNSpace(),
}


@pytest.fixture(params=SPACES)
def arrays(request: pytest.FixtureRequest) -> SlotArrays:
    return SlotArrays(SPACES[request.param])


def random_choices(space: SearchSpace, rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(rng.integers(decision.size)) for decision in space.decisions())


def decoded(space: SearchSpace, choices: tuple[int, ...]) -> Genome:
    names = [decision.name for decision in space.decisions()]
    return space.decode(dict(zip(names, choices, strict=True)))


def test_rows_are_the_genomes_however_they_are_chosen(arrays: SlotArrays) -> None:
    """Choices that say nothing about the genome are not in its row."""
    space, rng = arrays.space, np.random.default_rng(0)
    for _ in range(50):
        choices = random_choices(space, rng)
        genome = decoded(space, choices)
        canonical = tuple(space.encode(genome).values())
        one, other = arrays.from_choices([choices, canonical])
        assert (one == other).all()
        assert arrays.genome(one) == genome
        assert arrays.to_choices(one) == canonical


def test_equal_rows_are_equal_genomes() -> None:
    space = WideSpace((3, 4), 1)  # type: ignore[arg-type]
    arrays = SlotArrays(space)
    genomes = list(space.enumerate())
    rows = arrays.from_choices([tuple(space.encode(genome).values()) for genome in genomes])
    assert len({row.tobytes() for row in rows}) == len(genomes)
    assert len(np.unique(arrays.facts(rows), axis=0)) == len(genomes)


def test_mutants_are_neighbours_and_children_are_members(arrays: SlotArrays) -> None:
    rng = np.random.default_rng(1)
    rows = arrays.random(8, rng)
    for parent, mutant in zip(rows, arrays.mutate(rows, rng), strict=True):
        assert arrays.genome(mutant) in set(arrays.space.neighbours(arrays.genome(parent)))
    for child in arrays.cross(rows, rows[::-1], rng):
        assert arrays.space.contains(arrays.genome(child))
    assert arrays.mutate(rows[:0], rng).shape == rows[:0].shape


def test_neighbours_have_few_facts_that_differ(arrays: SlotArrays) -> None:
    """One, if an input is added; six, if a cell is added with four facts and another reads it."""
    rng = np.random.default_rng(2)
    rows = arrays.random(200, rng)
    mutants = arrays.mutate(rows, rng)
    changed = (arrays.facts(rows) != arrays.facts(mutants)).sum(1)
    assert changed.min() >= 1
    assert changed.max() <= 6


@pytest.mark.parametrize("space", [NASFPNSpace(), SPACE, NASFPNSpace((4, 6, 7), 3, (7, 4))])  # type: ignore[arg-type]
def test_features_of_the_papers_space_are_those_of_its_own_arrays(space: NASFPNSpace) -> None:
    own, slots = GenomeArrays(space), SlotArrays(space)
    rows = own.random(50, np.random.default_rng(3))
    same = slots.from_choices([own.to_choices(row) for row in rows])
    assert (own.facts(rows) == slots.facts(same)).all()
    assert (own.graph(rows) == slots.graph(same)).all()


def steps(values: np.ndarray, most: int) -> list[float]:
    return [float(value >= step) for value in np.ravel(values) for step in range(1, most + 1)]


def graph_by_hand(space: SearchSpace, genome: Genome) -> list[float]:
    """Return what ``Cells.graph`` does, from the wiring of the genome, with networkx for paths."""
    wiring, inputs = wire(genome), len(space.levels)
    place = {level: index for index, level in enumerate(space.levels)}
    graph = to_graph(genome)
    lengths = np.full((inputs, inputs), 6)
    outputs = np.zeros((inputs, len(space.ops) + 2 * inputs))
    between, jumps = np.zeros((inputs, len(space.ops))), np.zeros(inputs)
    depths, output_depths = [0] * inputs, np.zeros(inputs)
    read = np.zeros(inputs)
    for cell in wiring.cells:
        level, op = place[cell.level], space.ops.index(cell.op)
        nodes = [node for node, role in cell.sources if role != LEFTOVER]
        depths.append(1 + max(depths[node] for node in nodes))
        for source in cell.inputs:
            jumps[abs(place[source.level] - level)] += 1
            read[source.node : source.node + 1] += source.node < inputs
        if not cell.output:
            between[level, op] += 1
            continue
        outputs[level, op] = 1
        for source in cell.inputs:
            kind = place[source.level] + inputs * (source.node >= inputs)
            outputs[level, len(space.ops) + kind] = 1
        to_output = dict(nx.single_target_shortest_path_length(graph, cell.number))
        lengths[level] = [min(to_output.get(node, 6), 6) for node in range(inputs)]
        output_depths[level] = depths[-1]
    return [
        *outputs.ravel(),
        *steps(lengths, 6),
        *steps(between, max(space.intermediate_cells, 1)),
        *steps(read, 3),
        *steps(jumps, space.slots),
        *steps(output_depths, space.slots),
    ]


def test_properties_of_the_graph_are_those_of_the_wiring(arrays: SlotArrays) -> None:
    rows = arrays.random(60, np.random.default_rng(4))
    for row, given in zip(rows, arrays.graph(rows), strict=True):
        assert given.tolist() == graph_by_hand(arrays.space, arrays.genome(row))


def test_gp_proposes_no_genome_of_the_wide_space_twice() -> None:
    """Not with other choices that say nothing, either; and a copy proposes the same."""
    sampler, rng = GPSampler(WIDE, 0, start=5, pool=20), np.random.default_rng(5)
    log = [
        Record(choices, reward(decoded(WIDE, choices)))
        for choices in (random_choices(WIDE, rng) for _ in range(5))
    ]
    for index in range(5, 30):
        proposed = sampler.propose(log, sampler.generator(index))
        assert all(sampler.decode(r.choices) != sampler.decode(proposed) for r in log)
        log.append(Record(proposed, reward(sampler.decode(proposed)) if index % 3 else None))
    for other in (copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        asked = [s.propose(log, s.generator(30)) for s in (sampler, other)]
        assert asked[0] == asked[1]


def test_choices_that_say_nothing_change_no_proposal() -> None:
    sampler, rng = GPSampler(WIDE, 0, start=5, pool=20), np.random.default_rng(6)
    given = [random_choices(WIDE, rng) for _ in range(20)]
    genomes = [decoded(WIDE, choices) for choices in given]
    canonical = [sampler.encode(genome) for genome in genomes]
    assert sum(a != b for a, b in zip(given, canonical, strict=True)) > 10
    logs = [
        [Record(c, reward(g)) for c, g in zip(choices, genomes, strict=True)]
        for choices in (given, canonical)
    ]
    asked = [sampler.propose(log, sampler.generator(20)) for log in logs]
    assert all(one == other for one, other in pairwise(asked))
