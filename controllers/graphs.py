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
            Shape (genomes, facts), float32.
        """
        inputs = self.reads.shape[2] - self.reads.shape[1]
        there = self.levels[..., None] >= 0
        parts = (
            np.eye(inputs, dtype=np.float32)[self.levels] * there,
            np.eye(self.count_of_ops, dtype=np.float32)[self.ops] * there,
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
            Shape (genomes, properties), float32.
        """
        # Genomes are on the last axis, where NumPy is fastest, and numbers are small.
        reads = np.ascontiguousarray(self.reads.transpose(1, 2, 0))
        slots, nodes, count = reads.shape
        inputs, rows = nodes - slots, np.arange(count)
        intermediate = slots - inputs
        every = np.arange(inputs, dtype=np.int8)[:, None]
        levels, ops = self.levels.T.astype(np.int8), self.ops.T
        # Index of the level of each node, -1 for an unused slot and for nodes that come later.
        level_of = np.full((nodes, count), -1, np.int8)
        level_of[:inputs] = every
        paths = np.full((nodes, inputs, count), _FAR, np.int8)
        paths[range(inputs), range(inputs)] = 0
        used, depths = (np.zeros((nodes, count), np.int8) for _ in range(2))
        outputs = np.zeros((inputs, 2 * inputs + self.count_of_ops, count), np.int8)
        lengths = np.zeros((inputs, inputs, count), np.int8)
        between = np.zeros((inputs, self.count_of_ops, count), np.int8)
        output_depths, jumps = (np.zeros((inputs, count), np.int8) for _ in range(2))
        for slot in range(slots):
            level, op, read, number = levels[slot], ops[slot], reads[slot], inputs + slot
            on_cells = read[inputs:number, None] & (level_of[inputs:number, None] == every)
            from_levels = np.concatenate([read[:inputs], on_cells.sum(0, np.int8)])
            on_level = from_levels[:inputs] + from_levels[inputs:]
            away = abs(every - level)[:, None] == every
            jumps += (on_level[:, None] * away).sum(0, np.int8)
            used += read
            path = np.where(read[:, None], paths, np.int8(_FAR)).min(0)
            depths[number] = np.where(read, depths, np.int8(-1)).max(0) + 1
            if slot < intermediate:
                there = np.flatnonzero(level >= 0)
                between[level[there], op[there], there] += 1
            else:
                left = (level_of == level) & (used == 0)
                path = np.minimum(path, np.where(left[:, None], paths, np.int8(_FAR)).min(0))
                outputs[level, op, rows] = 1
                outputs[level, self.count_of_ops :, rows] = (from_levels > 0).T
            paths[number] = np.minimum(path + 1, _FAR)
            level_of[number] = level
            if slot >= intermediate:
                lengths[level, :, rows] = paths[number].T
                output_depths[level, rows] = depths[number]
        parts = (
            outputs,
            _steps(lengths, _FAR),
            _steps(between, max(intermediate, 1)),
            _steps(used[:inputs], 3),
            _steps(jumps, slots),
            _steps(output_depths, slots),
        )
        joined = np.concatenate([part.reshape(-1, count) for part in parts])
        return np.ascontiguousarray(joined.T, np.float32)


def _steps(values: Array, most: int) -> Array:
    """Return for each value how many of 1, 2, ..., ``most`` it reaches, as zeros and ones.

    The new axis is before the last one.
    """
    result: Array = values[..., None, :] > np.arange(most)[:, None]
    return result
