"""RetinaNet head: class and box towers shared over levels, batch norm per level."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from nasfpn_runtime.cells.layers import conv, norm
from nasfpn_runtime.semantics import Semantics
from search_space.shape import DetectorShape


class Tower(nn.Cell):
    """``depth`` of 3x3 convolution, batch norm, ReLU, then a 3x3 prediction.

    Convolutions are shared over levels, batch norms are not (tensorflow/tpu
    ``heads.py``, ``RetinanetHead``). Takes the map (N, C, H, W) of one level, and which
    one it is; returns (N, H * W * anchors, outputs): row, column, anchor.
    """

    def __init__(
        self,
        levels: int,
        in_channels: int,
        channels: int,
        depth: int,
        anchors: int,
        outputs: int,
        semantics: Semantics,
    ) -> None:
        super().__init__()
        self.depth = depth
        self.outputs = outputs
        widths = [in_channels] + [channels] * depth
        self.convs = nn.CellList([conv(widths[i], channels, 3, bias=True) for i in range(depth)])
        self.norms = nn.CellList(
            [nn.CellList([norm(channels, semantics) for _ in range(depth)]) for _ in range(levels)]
        )
        self.relu = nn.ReLU()
        self.predict = conv(widths[-1], anchors * outputs, 3, bias=True)

    def construct(self, x: Tensor, level: int) -> Tensor:
        for i in range(self.depth):
            x = self.relu(self.norms[level][i](self.convs[i](x)))
        y = ops.transpose(self.predict(x), (0, 2, 3, 1))
        return y.reshape(y.shape[0], -1, self.outputs)


class RetinaHead(nn.Cell):
    """Pyramid maps, finest first, to class logits (N, A, classes) and box deltas (N, A, 4).

    The order of A is level, row, column, anchor.
    """

    def __init__(self, levels: int, shape: DetectorShape, semantics: Semantics) -> None:
        super().__init__()
        width = shape.head_channels or shape.channels
        sizes = (levels, shape.channels, width, shape.head_convs, shape.anchors)
        self.classes = Tower(*sizes, shape.classes, semantics)
        self.boxes = Tower(*sizes, 4, semantics)

    def construct(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        logits: tuple[Tensor, ...] = ()
        deltas: tuple[Tensor, ...] = ()
        for level in range(len(maps)):  # both towers, then the map is done with
            logits = (*logits, self.classes(maps[level], level))
            deltas = (*deltas, self.boxes(maps[level], level))
        return ops.concat(logits, 1), ops.concat(deltas, 1)
