"""From the bytes of pictures to what a network is given."""

from __future__ import annotations

import mindspore
import numpy as np
from mindspore import Tensor, nn, ops

from nasfpn_runtime.pictures.image import GAIN, OFFSET


class Normalise(nn.Cell):
    """Pictures (N, 3, H, W) uint8 RGB of ``sizes`` (N, 2) to (N, 3, H, W) float32.

    The same as ``image.normalise``, on the device: a quarter of the bytes goes there.

    ``sizes``, int32, has the height and width that the picture takes at the top left; the rest
    becomes zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.offset = (
            Tensor(np.array(values, np.float32).reshape(1, 3, 1, 1)) for values in (GAIN, OFFSET)
        )

    def construct(self, images: Tensor, sizes: Tensor) -> Tensor:
        height, width = images.shape[2:]
        rows = ops.arange(height).reshape(1, 1, height, 1) < sizes[:, 0].reshape(-1, 1, 1, 1)
        columns = ops.arange(width).reshape(1, 1, 1, width) < sizes[:, 1].reshape(-1, 1, 1, 1)
        inside = ops.logical_and(rows, columns).astype(mindspore.float32)
        return (images.astype(mindspore.float32) * self.gain - self.offset) * inside
