"""What the graphs of many genomes are like, as zeros and ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

_FAR = 6  # length of a path that does not exist, and of all longer ones


@dataclass(frozen=True)
class Cells:
    """The cells of genomes by slot (see ``search_space.base.SearchSpace``).

    Attributes:
        levels: index of the level of each cell, -1 in an unused slot; shape (genomes, slots).
        ops: index of its op; shape (genomes, slots).
        reads: whether it reads each node, nodes numbered by slot; bool, shape
            (genomes, slots, nodes).
        count_of_ops: ops of the space.
    """

    levels: Array
    ops: Array
    reads: Array
    count_of_ops: int

    def facts(self) -> Array:
        """Return what each cell is: its level, its op and the nodes it reads; none if unused.

        Returns:
            Shape (genomes, facts), float64.
        """
        inputs = self.reads.shape[2] - self.reads.shape[1]
        there = self.levels[..., None] >= 0
        parts = (
            np.eye(inputs)[self.levels] * there,
            np.eye(self.count_of_ops)[self.ops] * there,
            self.reads,
        )
        joined: Array = np.concatenate(parts, -1).reshape(len(self.levels), -1)
        return joined

    def graph(self) -> Array:
        """Return what the graphs are like, however the cells are numbered.

        That is, in steps of one: the length of the shortest path from each input level to each
        output, and of the longest path to it; for each output level its op, and whether it reads
        each level, from an input or from a cell; for each level the number of intermediate cells
        with each op; how often each input level is read; how many inputs of cells come from 0, 1,
        2, ... levels away.

        Returns:
            Shape (genomes, properties), float64.
        """
        count, slots, nodes = self.reads.shape
        inputs, rows = nodes - slots, np.arange(len(self.reads))
        intermediate = slots - inputs
        distances = np.eye(inputs)[abs(np.subtract.outer(np.arange(inputs), np.arange(inputs)))]
        # For each node, one-hot: its level, as an input or as a cell; nothing for an unused slot.
        sources = np.zeros((count, nodes, 2 * inputs))
        sources[:, range(inputs), range(inputs)] = 1
        paths = np.full((count, nodes, inputs), _FAR)
        paths[:, range(inputs), range(inputs)] = 0
        used = np.zeros((count, nodes), np.int64)
        outputs = np.zeros((count, inputs, 2 * inputs + self.count_of_ops))
        lengths = np.zeros((count, inputs, inputs), np.int64)
        between = np.zeros((count, inputs, self.count_of_ops), np.int64)
        depths = np.zeros((count, nodes), np.int64)
        output_depths = np.zeros((count, inputs), np.int64)
        jumps = np.zeros((count, inputs))
        for slot in range(slots):
            level, op, reads = self.levels[:, slot], self.ops[:, slot], self.reads[:, slot]
            there, number = np.flatnonzero(level >= 0), inputs + slot
            from_levels = (reads[:, None].astype(np.float64) @ sources)[:, 0]
            on_level = from_levels.reshape(count, 2, inputs).sum(1)
            jumps += np.einsum("cl,cld->cd", on_level, distances[level])
            used += reads
            path = np.where(reads[..., None], paths, _FAR).min(1)
            depths[:, number] = np.where(reads, depths, -1).max(1) + 1
            if slot < intermediate:
                between[there, level[there], op[there]] += 1
            else:
                same = sources.reshape(count, nodes, 2, inputs).any(2)[rows, :, level]
                left = same & (used == 0)
                path = np.minimum(path, np.where(left[..., None], paths, _FAR).min(1))
                outputs[rows, level, op] = 1
                outputs[rows, level, self.count_of_ops :] = from_levels > 0
            paths[:, number] = np.minimum(path + 1, _FAR)
            sources[there, number, inputs + level[there]] = 1
            if slot >= intermediate:
                lengths[rows, level] = paths[:, number]
                output_depths[rows, level] = depths[:, number]
        parts = (
            outputs,
            _steps(lengths, _FAR),
            _steps(between, max(intermediate, 1)),
            _steps(used[:, :inputs], 3),
            _steps(jumps, slots),
            _steps(output_depths, slots),
        )
        joined: Array = np.concatenate([part.reshape(count, -1) for part in parts], 1)
        return joined.astype(np.float64)


def _steps(values: Array, most: int) -> Array:
    """Return for each value how many of 1, 2, ..., ``most`` it reaches, as zeros and ones."""
    result: Array = values[..., None] > np.arange(most)
    return result
