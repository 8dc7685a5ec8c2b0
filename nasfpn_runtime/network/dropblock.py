"""DropBlock: drop square blocks of feature maps during training."""

from __future__ import annotations

import mindspore
from mindspore import Tensor, nn, ops

_GOLDEN = 0x9E3779B9  # 2**32 over the golden ratio: multiples of it are far apart


class DropBlock(nn.Cell):
    """Drop square blocks of a map, independently for each image and channel (Ghiasi et al. 2018).

    Each pixel is the centre of a block with the probability of their equation 1, so that about
    a fraction ``keep`` of the map is kept; a little more, because blocks may overlap. The kept
    values are divided by the fraction that was kept of the whole tensor (their algorithm 1).
    Blocks lie within the map. Where the map is smaller than a block, a block has the map's
    smaller side (tensorflow/tpu ``nn_ops.py``, ``Dropblock``, which cannot be built for maps of
    2 pixels).

    A mask is a function of (key, number, shape). Where ``keep`` is 1, or the cell is not
    training, the output is the input.

    Args:
        side: side of a block, in pixels of the map.
        number: index of this layer among the layers that share a key.

    Called with a map (N, C, H, W); ``keep``, a float32 scalar, 0 < keep <= 1; and ``key``, an
    int32 scalar returned by :func:`mix`. Returns a map of the same shape and dtype.
    """

    def __init__(self, side: int, number: int) -> None:
        super().__init__()
        self.side = side
        self.offset = _as_int32(number * _GOLDEN)
        self.pools = nn.CellList(
            [nn.MaxPool2d(size, 1, pad_mode="same") for size in range(1, side + 1)]
        )

    def construct(self, x: Tensor, keep: Tensor, key: Tensor) -> Tensor:
        if not self.training:
            return x
        n, c, h, w = x.shape
        side = min(self.side, h, w)
        centres = (noise(x.shape, key + self.offset) < _thresholds(keep, h, w, side)).astype(
            mindspore.float32
        )
        kept = 1.0 - self.pools[side - 1](centres)
        # Mean of each plane first: the float32 sum of a large tensor of ones can be inexact.
        fraction = (kept.sum((2, 3)) / (h * w)).sum() / (n * c)
        factor = kept / ops.maximum(fraction, 1.0 / (n * c * h * w))
        # The factor has no gradient. Without stop_gradient MindSpore takes seconds to compile that.
        return x * ops.stop_gradient(factor).astype(x.dtype)


def noise(shape: tuple[int, int, int, int], seed: Tensor) -> Tensor:
    """Return int32 noise, uniform over all 2**32 values and pairwise independent.

    Value (n, c, y, x) is ``a * b + d`` mod 2**32, where ``a`` and ``d`` are hashes of the plane
    (n, c) and ``b`` is a hash of the pixel (y, x). It costs one multiplication and one addition
    per element, needs no state, and is the same on every device (multiply-add hashing:
    Dietzfelbinger, STACS 1996).

    Args:
        seed: int32 scalar. Seeds that differ by less than ``2 N C + H W`` share hashes.
    """
    n, c, h, w = shape
    planes, pixels = n * c, h * w
    words = mix(ops.arange(pixels + 2 * planes).astype(mindspore.int32) + seed)
    pixel = words[:pixels].reshape(1, 1, h, w)
    scale = words[pixels : pixels + planes].reshape(n, c, 1, 1)
    shift = words[pixels + planes :].reshape(n, c, 1, 1)
    return scale * pixel + shift


def mix(x: Tensor) -> Tensor:
    """Hash int32 values: a permutation of all 2**32 values that looks random.

    Constants: C. Wellons, hash-prospector, ``lowbias32``. Products wrap. Right shifts of int32
    copy the sign bit; the masks remove the copies.
    """
    x = x ^ (ops.bitwise_right_shift(x, 16) & 0xFFFF)
    x = x * 0x7FEB352D
    x = x ^ (ops.bitwise_right_shift(x, 15) & 0x1FFFF)
    x = x * (0x846CA68B - 0x100000000)  # the constant as a signed number
    return x ^ (ops.bitwise_right_shift(x, 16) & 0xFFFF)


def _thresholds(keep: Tensor, h: int, w: int, side: int) -> Tensor:
    """Return (1, 1, h, w) int32 thresholds: a pixel with lower noise is the centre of a block."""
    rows, columns = h - side + 1, w - side + 1
    gamma = (1.0 - keep) * (h * w / (side * side * rows * columns))
    before, after = side // 2, (side - 1) // 2
    inside = ops.pad(
        ops.ones((1, 1, rows, columns), mindspore.float32), (before, after, before, after)
    )
    return (inside * gamma * 2.0**32 - 2.0**31).astype(mindspore.int32)


def _as_int32(value: int) -> int:
    """Return ``value`` mod 2**32 as a signed 32-bit number."""
    return (value + 0x80000000) % 0x100000000 - 0x80000000
