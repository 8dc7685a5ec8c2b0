"""The network in plain numpy float64, written from the definitions: slow but easy to verify.

Maps are (N, C, H, W). Weights are a dictionary by parameter name.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from search_space import Genome, MergingCell

Array = NDArray[np.float64]
Weights = Mapping[str, Array]


def conv(x: Array, kernel: Array, stride: int = 1) -> Array:
    """Cross-correlate, with zero padding of half the kernel on each side."""
    reach = kernel.shape[-1] // 2
    padded = np.pad(x, [(0, 0), (0, 0), (reach, reach), (reach, reach)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows[:, :, ::stride, ::stride], kernel, optimize=True)


def conv_norm(weights: Weights, name: str, x: Array, epsilon: float, stride: int = 1) -> Array:
    """Apply convolution and inference batch norm; ``name`` is the prefix of their weights."""
    y = conv(x, weights[f"{name}.conv.weight"], stride)
    if f"{name}.conv.bias" in weights:
        y = y + weights[f"{name}.conv.bias"][:, None, None]
    gamma, beta, mean, variance = (
        weights[f"{name}.bn.{leaf}"][:, None, None]
        for leaf in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return (y - mean) / np.sqrt(variance + epsilon) * gamma + beta


def max_pool(x: Array, size: int, stride: int) -> Array:
    """Return maxima over windows, padded with minus infinity; an odd pixel goes below and right."""
    sides = x.shape[2:]
    missing = [max(0, (-(-n // stride) - 1) * stride + size - n) for n in sides]
    around = [(0, 0), (0, 0), *((n // 2, n - n // 2) for n in missing)]
    padded = np.pad(x, around, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
    return windows[:, :, ::stride, ::stride].max(axis=(4, 5))


def resample(x: Array, from_level: int, to_level: int) -> Array:
    """Resample by a power of two: nearest upsampling or max pooling."""
    if to_level >= from_level:
        factor = 2 ** (to_level - from_level)
        return max_pool(x, factor, factor)
    factor = 2 ** (from_level - to_level)
    return x.repeat(factor, axis=2).repeat(factor, axis=3)


def merge(cell: MergingCell, levels: list[int], maps: list[Array], weights: Array | None) -> Array:
    """Apply the op of a cell to its resampled inputs; ``levels`` are the levels of the inputs."""
    if cell.op == "attention":
        gate = 0 if levels[0] >= levels[1] else 1
        pooled = maps[gate].max(axis=(2, 3), keepdims=True)
        return maps[gate] + maps[1 - gate] / (1 + np.exp(-pooled))
    if weights is not None:
        positive = weights.clip(0)
        fractions = positive / (positive.sum() + 1e-4)
        return sum((w * x for w, x in zip(fractions, maps, strict=True)), np.zeros(()))
    return sum(maps, np.zeros(()))


def stack(
    genome: Genome, inputs: list[Array], weights: Weights, name: str, epsilon: float
) -> list[Array]:
    """Return the outputs of one repeat, cell by cell as in section 3.1 of the paper."""
    levels = [int(level) for level in genome.levels]
    nodes, used = list(inputs), [False] * len(inputs)
    for number, cell in enumerate(genome.cells):
        below = [levels[i] for i in cell.inputs]
        maps = [resample(nodes[i], levels[i], cell.level) for i in cell.inputs]
        prefix = f"{name}.cells_.{number}"
        merged = merge(cell, below, maps, weights.get(f"{prefix}.merge.weights"))
        for i in cell.inputs:
            used[i] = True
        if all(other.level != cell.level for other in genome.cells[number + 1 :]):  # an output
            for i, level in enumerate(levels):
                if level == cell.level and not used[i]:
                    merged, used[i] = merged + nodes[i], True
        if cell.op != "identity":
            merged = conv_norm(weights, f"{prefix}.out", merged.clip(0), epsilon)
        nodes.append(merged)
        levels.append(int(cell.level))
        used.append(False)
    newest = {level: node for level, node in zip(levels, nodes, strict=True)}
    return [newest[int(level)] for level in genome.levels]


def pyramid(
    genome: Genome, features: Mapping[int, Array], weights: Weights, stacks: int, epsilon: float
) -> list[Array]:
    """Return the pyramid of backbone maps by level; laterals without weights are identities."""
    maps: list[Array] = []
    for i, level in enumerate(genome.levels):
        if level not in features:
            factor = 2 ** (level - genome.levels[i - 1])
            maps.append(max_pool(maps[-1], factor, factor))
        elif f"laterals.{i}.conv.weight" in weights:
            maps.append(conv_norm(weights, f"laterals.{i}", features[int(level)], epsilon))
        else:
            maps.append(features[int(level)])
    for number in range(stacks):
        maps = stack(genome, maps, weights, f"stacks.{number}", epsilon)
    return maps


def resnet(image: Array, blocks: tuple[int, ...], weights: Weights, epsilon: float) -> list[Array]:
    """Return the maps of levels 2, 3, ...; the weights tell how many convolutions a block has."""
    x = max_pool(conv_norm(weights, "stem", image, epsilon, 2).clip(0), 3, 2)
    maps = []
    for group, count in enumerate(blocks):
        for block in range(count):
            name, stride = f"groups.{group}.{block}", 2 if group and not block else 1
            last = 2 if f"{name}.body.2.conv.weight" in weights else 1
            strided = last - 1  # the 3x3 convolution of three, the first of two
            y = x
            for i in range(last + 1):
                step = stride if i == strided else 1
                y = conv_norm(weights, f"{name}.body.{i}", y, epsilon, step)
                y = y.clip(0) if i < last else y
            if not block:
                x = conv_norm(weights, f"{name}.shortcut", x, epsilon, stride)
            x = (x + y).clip(0)
        maps.append(x)
    return maps
