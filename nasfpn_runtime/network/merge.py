"""Merging cells: resample, merge, add leftovers, then ReLU, convolution, batch norm."""

from __future__ import annotations

import mindspore
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import initializer

from nasfpn_runtime.network.dropblock import DropBlock
from nasfpn_runtime.network.layers import ConvNorm, conv3
from nasfpn_runtime.network.resample import resample
from nasfpn_runtime.recipe.dialects import Dialect
from search_space.wiring import WiredCell


class Sum(nn.Cell):
    """Elementwise sum of a tuple of equal-shaped maps."""

    def construct(self, maps: tuple[Tensor, ...]) -> Tensor:
        total = maps[0]
        for other in maps[1:]:
            total = total + other
        return total


class Attention(nn.Cell):
    """``a + b * sigmoid(pool(a))``, where ``a`` is the gate, pooled over height and width.

    Paper, figure 4; tensorflow/tpu ``nasfpn.py``, ``global_attention``.

    Args:
        gate: index of the gate among the two maps, 0 or 1.
        pool: ``max`` or ``mean``.
    """

    def __init__(self, gate: int, pool: str) -> None:
        super().__init__()
        self.gate = gate
        self.max = pool == "max"

    def construct(self, maps: tuple[Tensor, ...]) -> Tensor:
        a, b = maps[self.gate], maps[1 - self.gate]
        pooled = ops.amax(a, (2, 3), True) if self.max else ops.mean(a, (2, 3), True)
        return a + b * ops.sigmoid(pooled)


class WeightedSum(nn.Cell):
    """``sum(w_i x_i) / (sum(w) + 1e-4)`` with ``w = relu(weights)``; one weight per input.

    EfficientDet, section 3.3, fast normalised fusion.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weights = Parameter(initializer("ones", (count,), mindspore.float32), name="weights")

    def construct(self, maps: tuple[Tensor, ...]) -> Tensor:
        weights = ops.relu(self.weights)
        total = maps[0] * weights[0]
        for i in range(1, len(maps)):
            total = total + maps[i] * weights[i]
        return total / (weights.sum() + 1e-4)


def merge_op(cell: WiredCell, dialect: Dialect) -> nn.Cell:
    """Return the module that computes a cell's op from the tuple of its resampled inputs."""
    if cell.op == "attention":
        roles = [source.role for source in cell.inputs]  # the coarser input has the role "gate"
        gate = roles.index("gate" if dialect.gate == "coarser" else "value")
        return Attention(gate, dialect.gate_pool)
    if cell.op == "weighted":
        return WeightedSum(len(cell.inputs))
    return Sum()  # the sum of one map is the map


class MergingCell(nn.Cell):
    """Compute one node from the tuple of the maps of all earlier nodes, each (N, C, H_l, W_l).

    Args:
        drop: DropBlock of the node. It is applied only if ``keep`` and ``key`` are given.
    """

    def __init__(
        self, cell: WiredCell, channels: int, dialect: Dialect, drop: DropBlock | None = None
    ) -> None:
        super().__init__()
        self.nodes = tuple(source.node for source in cell.inputs)
        self.leftovers = cell.leftovers
        self.resamples = nn.CellList([resample(s.level, cell.level) for s in cell.inputs])
        self.merge = merge_op(cell, dialect)
        self.plain = cell.op == "identity"
        self.relu = nn.ReLU()
        bias = dialect.layers.cell_bias
        self.out = (
            nn.Identity()
            if self.plain
            else ConvNorm(conv3(channels, channels, dialect, bias=bias), channels, dialect)
        )
        self.drop = drop

    def construct(
        self, maps: tuple[Tensor, ...], keep: Tensor | None = None, key: Tensor | None = None
    ) -> Tensor:
        inputs: tuple[Tensor, ...] = ()
        for i in range(len(self.nodes)):
            inputs = (*inputs, self.resamples[i](maps[self.nodes[i]]))
        merged = self.merge(inputs)
        for node in self.leftovers:
            merged = merged + maps[node]
        if self.plain:
            return merged
        node = self.out(self.relu(merged))
        if self.drop is None or keep is None:
            return node
        return self.drop(node, keep, key)
