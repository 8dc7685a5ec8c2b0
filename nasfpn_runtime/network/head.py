"""RetinaNet head: one tower of convolutions for classes and one for boxes."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from nasfpn_runtime.network.layers import conv3, norm
from nasfpn_runtime.recipe.dialects import Dialect
from search_space.shape import DetectorShape


class Tower(nn.Cell):
    """``depth`` times 3x3 convolution, batch norm (if the dialect has it), ReLU; then a prediction.

    The prediction is a 3x3 convolution. The convolutions are shared by all ``levels``, the batch
    norms are not (tensorflow/tpu ``heads.py``, ``RetinanetHead``).

    Called with the map (N, C, H, W) of one level and the index of the level. Returns
    (N, H * W * anchors, outputs), in the order row, column, anchor.
    """

    def __init__(
        self,
        levels: int,
        in_channels: int,
        channels: int,
        depth: int,
        anchors: int,
        outputs: int,
        dialect: Dialect,
    ) -> None:
        super().__init__()
        self.depth = depth
        self.outputs = outputs
        widths = [in_channels] + [channels] * depth
        layers = dialect.layers
        self.convs = nn.CellList(
            [conv3(widths[i], channels, dialect, bias=layers.head_bias) for i in range(depth)]
        )
        self.norms = nn.CellList(
            [nn.CellList([_norm(channels, dialect) for _ in range(depth)]) for _ in range(levels)]
        )
        self.relu = nn.ReLU()
        self.predict = conv3(widths[-1], anchors * outputs, dialect, bias=layers.predict_bias)

    def construct(self, x: Tensor, level: int) -> Tensor:
        for i in range(self.depth):
            x = self.relu(self.norms[level][i](self.convs[i](x)))
        y = ops.transpose(self.predict(x), (0, 2, 3, 1))
        return y.reshape(y.shape[0], -1, self.outputs)


class RetinaHead(nn.Cell):
    """Pyramid maps, finest first, to class logits (N, A, classes) and box deltas (N, A, 4).

    Anchors are in the order level, row, column, anchor of the pixel.
    """

    def __init__(self, levels: int, shape: DetectorShape, dialect: Dialect) -> None:
        super().__init__()
        width = shape.head_channels or shape.channels
        sizes = (levels, shape.channels, width, shape.head_convs, shape.anchors)
        self.shared = dialect.layers.head_shared
        if self.shared:
            self.classes = Tower(*sizes, shape.classes, dialect)
            self.boxes = Tower(*sizes, 4, dialect)
        else:
            one = (1, *sizes[1:])
            self.classes = nn.CellList([Tower(*one, shape.classes, dialect) for _ in range(levels)])
            self.boxes = nn.CellList([Tower(*one, 4, dialect) for _ in range(levels)])

    def construct(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        logits: tuple[Tensor, ...] = ()
        deltas: tuple[Tensor, ...] = ()
        for level in range(len(maps)):  # both towers in turn, so that the map can be freed early
            if self.shared:
                logits = (*logits, self.classes(maps[level], level))
                deltas = (*deltas, self.boxes(maps[level], level))
            else:
                logits = (*logits, self.classes[level](maps[level], 0))
                deltas = (*deltas, self.boxes[level](maps[level], 0))
        return ops.concat(logits, 1), ops.concat(deltas, 1)


def _norm(channels: int, dialect: Dialect) -> nn.Cell:
    if not dialect.layers.head_norm:
        return nn.Identity()
    return norm(channels, dialect.norm_epsilon, dialect.norm_momentum)
