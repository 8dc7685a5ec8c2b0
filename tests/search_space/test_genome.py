"""Levels, cells and genomes: every rule by a genome that breaks it, outputs and leftovers."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from search_space import Genome, GenomeError, Level, MergingCell

# One sum per level: the smallest genome on two levels.
PAIR = (MergingCell(3, "sum", (0, 1)), MergingCell(4, "sum", (0, 1)))

BROKEN: dict[str, tuple[Callable[[], object], str, object, str]] = {
    # name -> (what a user writes, part of the rule, value, path)
    "level too small": (lambda: Level(0), "from 1 to 10", 0, "level"),
    "level too large": (lambda: MergingCell(11, "sum", (0, 1)), "from 1 to 10", 11, "level"),
    "level is a bool": (lambda: Level(True), "integer", True, "level"),
    "level is a float": (lambda: Level(3.0), "integer", 3.0, "level"),
    "op": (lambda: MergingCell(3, "add", (0, 1)), "sum, attention", "add", "op"),
    "op is no string": (lambda: MergingCell(3, ["sum"], (0, 1)), "sum, attention", ["sum"], "op"),
    "negative input": (lambda: MergingCell(3, "sum", (0, -1)), "from 0", (0, -1), "inputs"),
    "bool input": (lambda: MergingCell(3, "sum", (0, True)), "node numbers", (0, True), "inputs"),
    "inputs no tuple": (lambda: MergingCell(3, "sum", "01"), "node numbers", "01", "inputs"),
    "same input twice": (lambda: MergingCell(3, "sum", (1, 1)), "different", (1, 1), "inputs"),
    "sum of one": (lambda: MergingCell(3, "sum", (1,)), "2 or more input", (1,), "inputs"),
    "weighted of one": (lambda: MergingCell(3, "weighted", (1,)), "2 or more", (1,), "inputs"),
    "attention of three": (
        lambda: MergingCell(3, "attention", (0, 1, 2)),
        "2 input",
        (0, 1, 2),
        "inputs",
    ),
    "identity of two": (lambda: MergingCell(3, "identity", (0, 1)), "1 input", (0, 1), "inputs"),
    "levels descend": (lambda: Genome(PAIR, (4, 3)), "ascending", (4, 3), "levels"),
    "levels repeat": (lambda: Genome(PAIR, (3, 3)), "ascending", (3, 3), "levels"),
    "one level": (lambda: Genome(PAIR[:1], (3,)), "two or more", (3,), "levels"),
    "bad level among levels": (lambda: Genome(PAIR, (3, 44)), "1 to 10", 44, "levels[1]"),
    "not a cell": (lambda: Genome((PAIR[0], 7), (3, 4)), "MergingCell", 7, "cells[1]"),
    "cell on a foreign level": (
        lambda: Genome((*PAIR, MergingCell(5, "sum", (0, 1))), (3, 4)),
        "(3, 4)",
        5,
        "cells[2].level",
    ),
    "input is the cell itself": (
        lambda: Genome((PAIR[0], MergingCell(4, "sum", (0, 3))), (3, 4)),
        "below 3",
        (0, 3),
        "cells[1].inputs",
    ),
    "no output": (
        lambda: Genome((PAIR[0], PAIR[0]), (3, 4)),
        "every input level",
        "no cell on level(s) [4]",
        "cells",
    ),
}


@pytest.mark.parametrize(("build", "rule", "value", "path"), BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_is_named_with_value_and_path(
    build: Callable[[], object], rule: str, value: object, path: str
) -> None:
    with pytest.raises(GenomeError) as caught:
        build()
    error = caught.value
    assert rule in error.rule
    assert (error.value, error.path) == (value, path)
    assert str(error) == f"{error.rule}, got {value!r} (at {path})"
    again = pickle.loads(pickle.dumps(error))
    assert (again.rule, again.value, again.path) == (error.rule, error.value, error.path)


def test_level_is_an_integer_with_a_stride_and_a_name() -> None:
    level = Level(3)
    assert level == 3
    assert level.stride == 8
    assert level.name == str(level) == "p3"
    assert type(MergingCell(3, "sum", (0, 1)).level) is Level
    assert all(type(x) is Level for x in Genome(PAIR, (3, 4)).levels)


def test_genome_is_a_value() -> None:
    genome = Genome(list(PAIR), [3, 4])
    assert genome == Genome(PAIR, (3, 4))
    assert hash(genome) == hash(Genome(PAIR, (3, 4)))
    assert pickle.loads(pickle.dumps(genome)) == genome
    with pytest.raises(AttributeError):
        genome.levels = (3, 4)


def test_outputs_are_the_last_cells_on_their_levels() -> None:
    cells = (MergingCell(4, "sum", (0, 1)), *PAIR)
    genome = Genome(cells, (3, 4))
    assert genome.outputs == {3: 3, 4: 4}
    assert genome.node_levels == (3, 4, 4, 3, 4)


def test_leftovers_by_hand() -> None:
    cells = (
        MergingCell(4, "sum", (0, 1)),  # node 2: uses 0 and 1
        MergingCell(4, "sum", (0, 1)),  # node 3
        MergingCell(3, "sum", (0, 1)),  # node 4: output of 3; 0 is used, nothing left on 3
        MergingCell(4, "sum", (0, 2)),  # node 5: output of 4; 2 is used here, 3 is left
    )
    assert Genome(cells, (3, 4)).leftovers() == {5: (3,)}


def test_an_input_used_only_after_its_output_is_a_leftover_of_it() -> None:
    # Fails if uses are counted over the whole genome: only node 3 uses node 0. It comes after
    # the output of level 3, which has added node 0 already.
    genome = Genome((MergingCell(3, "identity", (1,)), MergingCell(4, "sum", (0, 2))), (3, 4))
    assert genome.leftovers() == {2: (0,)}


def test_leftovers_are_those_of_a_use_count(
    random_genome: Callable[[np.random.Generator], Genome],
) -> None:
    """The rule as tensorflow/tpu implements it: a use count per node, kept while building."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        genome = random_genome(rng)
        levels = list(genome.levels)
        count = [0] * len(levels)
        result = {}
        for i, cell in enumerate(genome.cells):
            for source in cell.inputs:
                count[source] += 1
            if all(later.level != cell.level for later in genome.cells[i + 1 :]):
                left = [n for n, c in enumerate(count) if c == 0 and levels[n] == cell.level]
                for node in left:
                    count[node] += 1
                if left:
                    result[len(levels)] = tuple(left)
            levels.append(cell.level)
            count.append(0)
        assert genome.leftovers() == result
        unused = {node for node, uses in enumerate(count) if uses == 0}
        assert unused <= set(genome.outputs.values())  # every node has an effect
