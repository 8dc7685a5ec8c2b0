"""Resampling between pyramid levels: nearest upsampling and max pooling (paper, section 3.1)."""

from __future__ import annotations

from mindspore import Tensor, nn, ops


class Upsample(nn.Cell):
    """Repeat every pixel: (N, C, H, W) to (N, C, H * factor, W * factor)."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def construct(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        f = self.factor
        spread = ops.broadcast_to(x.reshape(n, c, h, 1, w, 1), (n, c, h, f, w, f))
        return spread.reshape(n, c, h * f, w * f)


def resample(from_level: int, to_level: int) -> nn.Cell:
    """Return the module that resamples a map from one level to another.

    To a coarser level: max pooling with kernel and stride ``2 ** (to - from)``, padded with minus
    infinity if the size is not a multiple of the stride. To a finer level: nearest neighbour. To
    the same level: identity.
    """
    if to_level > from_level:
        factor = 1 << (to_level - from_level)
        return nn.MaxPool2d(factor, factor, pad_mode="same")
    if to_level < from_level:
        return Upsample(1 << (from_level - to_level))
    return nn.Identity()
