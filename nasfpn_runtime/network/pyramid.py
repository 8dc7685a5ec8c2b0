"""The pyramid of a genome: laterals, coarser levels and stacked cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mindspore import Tensor, nn

from nasfpn_runtime.network.dropblock import DropBlock, mix
from nasfpn_runtime.network.layers import ConvNorm, conv
from nasfpn_runtime.network.merge import MergingCell
from nasfpn_runtime.recipe.dialects import Dialect
from search_space.genome import Genome
from search_space.wiring import Wiring, wire


class Stack(nn.Cell):
    """One repeat of the pyramid, from the tuple of level maps to the tuple of level maps.

    Args:
        drops: ``drop`` of each cell, see :class:`MergingCell`.
    """

    def __init__(
        self,
        wiring: Wiring,
        channels: int,
        dialect: Dialect,
        drops: Sequence[DropBlock | None],
    ) -> None:
        super().__init__()
        self.outputs = wiring.outputs
        self.cells_ = nn.CellList(
            [
                MergingCell(cell, channels, dialect, drop)
                for cell, drop in zip(wiring.cells, drops, strict=True)
            ]
        )

    def construct(
        self, maps: tuple[Tensor, ...], keep: Tensor | None = None, key: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        nodes = maps
        for cell in self.cells_:
            nodes = (*nodes, cell(nodes, keep, key))
        result: tuple[Tensor, ...] = ()
        for node in self.outputs:
            result = (*result, nodes[node])
        return result


class CoarserLevel(nn.Cell):
    """Derive a coarser level from a map: a projection if the dialect has one, then a max pool."""

    def __init__(self, factor: int, channels: int, dialect: Dialect) -> None:
        super().__init__()
        self.project = (
            ConvNorm(conv(channels, channels, 1), channels, dialect)
            if dialect.layers.coarse_conv
            else nn.Identity()
        )
        self.pool = nn.MaxPool2d(factor, factor, pad_mode="same")

    def construct(self, x: Tensor) -> Tensor:
        return self.pool(self.project(x))


class Pyramid(nn.Cell):
    """Backbone maps to pyramid maps of ``channels`` channels, for any genome.

    Args:
        genome: the cells and levels. The backbone supplies the finest levels; each coarser
            level is derived from the level below, see :class:`CoarserLevel`.
        in_channels: channels of the backbone's map at each level that it supplies.
        channels: channels of every pyramid map.
        stacks: number of repeats, each with its own weights.
        drop_block: side of the blocks that :meth:`outputs` drops in every cell.

    Called with the backbone's maps (N, C_l, H_l, W_l), finest level first. Returns the tuple of
    pyramid maps (N, channels, H_l, W_l), finest level first.

    Raises:
        ValueError: the levels that the backbone supplies are not the finest of the genome.
    """

    def __init__(
        self,
        genome: Genome,
        in_channels: Mapping[int, int],
        channels: int,
        stacks: int,
        dialect: Dialect,
        drop_block: int | None = None,
    ) -> None:
        super().__init__()
        supplied = tuple(level for level in genome.levels if level in in_channels)
        if not supplied or supplied != genome.levels[: len(supplied)]:
            raise ValueError(
                f"the backbone must supply the finest levels of the genome's "
                f"{tuple(map(int, genome.levels))}, got {tuple(sorted(in_channels))}"
            )
        self.laterals = nn.CellList(
            [_lateral(in_channels[level], channels, dialect) for level in supplied]
        )
        self.coarser = nn.CellList(
            [
                CoarserLevel(1 << (level - below), channels, dialect)
                for below, level in zip(genome.levels, genome.levels[1:], strict=False)
                if level not in supplied
            ]
        )
        wiring = wire(genome)
        self.stacks = nn.CellList(
            [
                Stack(wiring, channels, dialect, _drops(drop_block, len(wiring.cells), stack))
                for stack in range(stacks)
            ]
        )

    def construct(self, *features: Tensor) -> tuple[Tensor, ...]:
        maps = self._inputs(features)
        for stack in self.stacks:
            maps = stack(maps)
        return maps

    def outputs(
        self, features: tuple[Tensor, ...], keep: Tensor, key: Tensor
    ) -> tuple[tuple[Tensor, ...], ...]:
        """Return the output maps of every stack in order.

        Args:
            features: the backbone's maps.
            keep, key: see :class:`DropBlock`, but ``key`` may be any int32, as it is hashed here.
                Not used without ``drop_block``.
        """
        mixed = mix(key)
        maps = self._inputs(features)
        result: tuple[tuple[Tensor, ...], ...] = ()
        for stack in self.stacks:
            maps = stack(maps, keep, mixed)
            result = (*result, maps)
        return result

    def _inputs(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the inputs of the first stack: laterals and coarser levels."""
        maps: tuple[Tensor, ...] = ()
        for i in range(len(self.laterals)):
            maps = (*maps, self.laterals[i](features[i]))
        for coarser in self.coarser:
            maps = (*maps, coarser(maps[-1]))
        return maps


def _drops(side: int | None, cells: int, stack: int) -> list[DropBlock | None]:
    """Return the DropBlock of each cell of a stack, numbered consecutively over all stacks."""
    return [None if side is None else DropBlock(side, stack * cells + i) for i in range(cells)]


def _lateral(in_channels: int, channels: int, dialect: Dialect) -> nn.Cell:
    layers = dialect.layers
    if layers.lateral_skip and in_channels == channels:
        return nn.Identity()
    bias = layers.lateral_bias
    return ConvNorm(conv(in_channels, channels, 1, bias=bias), channels, dialect)
