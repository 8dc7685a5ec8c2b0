"""The network for MindSpore's own export: from images to boxes and scores."""

from __future__ import annotations

import math

import mindspore
from mindspore import Tensor, nn, ops

from nasfpn_runtime.network.network import Network
from nasfpn_runtime.pictures.boxes import CLIPS, BoxCode, Boxes


class DeployedNetwork(nn.Cell):
    """Images (N, 3, H, W) to boxes (N, A, 4) xyxy px of the input and scores (N, A, classes).

    Inputs and outputs are float32. Decoding and the sigmoid are always computed in float32,
    because float16 resolves no more than half a pixel at 1024.

    Args:
        net: the network after ``fold``. It is changed if ``half`` is set.
        anchors: (A, 4) xyxy px of the network's input.
        code: its bounds on decoded sides are applied; ``fold`` has put the rest of it into
            the weights.
        half: use float16 for the weights and the arithmetic of the network.
    """

    def __init__(self, net: Network, anchors: Boxes, code: BoxCode, *, half: bool) -> None:
        super().__init__()
        self.net = net
        if half:
            for parameter in net.get_parameters():
                parameter.set_dtype(mindspore.float16)
        self.dtype = mindspore.float16 if half else mindspore.float32
        self.centres = Tensor((anchors[:, :2] + anchors[:, 2:]) / 2)
        self.sides = Tensor(anchors[:, 2:] - anchors[:, :2])
        self.low, self.high = (b if math.isfinite(b) else None for b in CLIPS[code.clip])

    def construct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = self.net(images.astype(self.dtype))
        deltas = deltas.astype(mindspore.float32)
        centres = deltas[:, :, :2] * self.sides + self.centres
        stretch = deltas[:, :, 2:]
        if self.low is not None or self.high is not None:
            stretch = ops.clamp(stretch, self.low, self.high)
        half = ops.exp(stretch) * self.sides * 0.5
        boxes = ops.concat((centres - half, centres + half), 2)
        return boxes, ops.sigmoid(logits.astype(mindspore.float32))
