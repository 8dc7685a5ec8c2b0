"""MobileNetV2 backbone (Sandler et al. 2018)."""

from __future__ import annotations

from mindspore import Tensor, nn

from nasfpn_runtime.network.layers import BackboneConv
from nasfpn_runtime.recipe.dialects import Dialect
from search_space.shape import (
    BACKBONE_LEVELS,
    MOBILENETV2,
    MOBILENETV2_LAST,
    mobilenet_channels,
)


class InvertedResidual(nn.Cell):
    """Inverted residual block (section 3.3): expand, depthwise 3x3, project.

    A 1x1 convolution expands the channels ``expansion`` times (left out if that is 1), a depthwise
    3x3 convolution follows, and a 1x1 convolution without ReLU6 projects to ``out_channels``. The
    input is added to the result if the shapes are equal.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expansion: int, dialect: Dialect
    ) -> None:
        super().__init__()
        width = in_channels * expansion
        layers = [
            BackboneConv(
                width, width, 3, dialect, stride=stride, groups=width, activation=nn.ReLU6
            ),
            BackboneConv(width, out_channels, 1, dialect),
        ]
        if expansion > 1:
            layers.insert(0, BackboneConv(in_channels, width, 1, dialect, activation=nn.ReLU6))
        self.body = nn.SequentialCell(*layers)
        self.residual = stride == 1 and in_channels == out_channels

    def construct(self, x: Tensor) -> Tensor:
        return self.body(x) + x if self.residual else self.body(x)


class MobileNetV2(nn.Cell):
    """Images (N, 3, H, W) to the maps of ``levels`` (each 2..5), finest first.

    Args:
        width: channels of the stem, 32 as published; see ``mobilenet_channels``.
        levels: levels of the maps to return; groups above the coarsest are not built.
    """

    def __init__(self, width: int, levels: tuple[int, ...], dialect: Dialect) -> None:
        super().__init__()
        self.levels = levels
        self.stem = BackboneConv(3, width, 3, dialect, stride=2, activation=nn.ReLU6)
        self.channels: dict[int, int] = {}
        groups = []
        channels = width
        for level in range(1, max(levels) + 1):
            blocks: list[nn.Cell] = []
            for expansion, published, repeats in MOBILENETV2[level]:
                out = mobilenet_channels(published, width)
                for _ in range(repeats):
                    stride = 1 if blocks or level == 1 else 2
                    blocks.append(InvertedResidual(channels, out, stride, expansion, dialect))
                    channels = out
            if level == BACKBONE_LEVELS[-1]:
                out = mobilenet_channels(MOBILENETV2_LAST, width)
                blocks.append(BackboneConv(channels, out, 1, dialect, activation=nn.ReLU6))
                channels = out
            groups.append(nn.SequentialCell(*blocks))
            if level in levels:
                self.channels[level] = channels
        self.groups = nn.CellList(groups)

    def construct(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        result: tuple[Tensor, ...] = ()
        for i in range(len(self.groups)):
            x = self.groups[i](x)
            if i + 1 in self.levels:
                result = (*result, x)
        return result
