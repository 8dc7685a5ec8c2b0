"""ResNet backbones (He et al. 2016), with strides in the 3x3 convolutions (v1.5)."""

from __future__ import annotations

from mindspore import Tensor, nn

from nasfpn_runtime.network.layers import BackboneConv
from nasfpn_runtime.recipe.dialects import Dialect
from search_space.shape import RESNETS


class ResidualBlock(nn.Cell):
    """Residual block: two 3x3 convolutions, or 1x1, 3x3 and 1x1 if ``bottleneck``."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        dialect: Dialect,
        *,
        bottleneck: bool,
        project: bool,
    ) -> None:
        super().__init__()
        out_channels = width * 4 if bottleneck else width
        # (in, out, kernel, stride, activation)
        shapes = (
            [
                (in_channels, width, 1, 1, nn.ReLU),
                (width, width, 3, stride, nn.ReLU),
                (width, out_channels, 1, 1, nn.Identity),
            ]
            if bottleneck
            else [(in_channels, width, 3, stride, nn.ReLU), (width, width, 3, 1, nn.Identity)]
        )
        self.body = nn.SequentialCell(
            *[BackboneConv(i, o, k, dialect, stride=s, activation=a) for i, o, k, s, a in shapes]
        )
        self.shortcut = (
            BackboneConv(in_channels, out_channels, 1, dialect, stride=stride)
            if project
            else nn.Identity()
        )
        self.relu = nn.ReLU()

    def construct(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


class ResNet(nn.Cell):
    """Images (N, 3, H, W) to the maps of ``levels`` (each 2..5), finest first.

    Args:
        name: a key of :data:`search_space.shape.RESNETS`.
        width: channels of the stem, 64 as published. The groups have 1, 2, 4 and 8 times as
            many, and their outputs four times that if the blocks are bottlenecks.
        levels: levels of the maps to return; groups above the coarsest are not built.
    """

    def __init__(self, name: str, width: int, levels: tuple[int, ...], dialect: Dialect) -> None:
        super().__init__()
        kind = RESNETS[name]
        self.levels = levels
        self.stem = BackboneConv(3, width, 7, dialect, stride=2, activation=nn.ReLU)
        self.pool = _stem_pool(dialect)
        self.channels: dict[int, int] = {}
        groups = []
        channels = width
        for index, repeats in enumerate(kind.blocks[: max(levels) - 1]):
            blocks = []
            for block in range(repeats):
                blocks.append(
                    ResidualBlock(
                        channels,
                        width << index,
                        2 if index and not block else 1,
                        dialect,
                        bottleneck=kind.bottleneck,
                        project=not block,
                    )
                )
                channels = (width << index) * (4 if kind.bottleneck else 1)
            groups.append(nn.SequentialCell(*blocks))
            if index + 2 in levels:
                self.channels[index + 2] = channels
        self.groups = nn.CellList(groups)

    def construct(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.pool(self.stem(x))
        result: tuple[Tensor, ...] = ()
        for i in range(len(self.groups)):
            x = self.groups[i](x)
            if i + 2 in self.levels:
                result = (*result, x)
        return result


def _stem_pool(dialect: Dialect) -> nn.Cell:
    if dialect.stem_pool == "same":
        return nn.MaxPool2d(3, 2, pad_mode="same")
    # Padding with zeros is as good as minus infinity here: a ReLU precedes the pool.
    return nn.SequentialCell(nn.Pad(((0, 0), (0, 0), (1, 1), (1, 1))), nn.MaxPool2d(3, 2))
