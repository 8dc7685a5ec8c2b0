"""DropBlock: squares of a feature map are dropped while training."""

from __future__ import annotations

import mindspore
from mindspore import Tensor, nn, ops

_GOLDEN = 0x9E3779B9  # 2**32 over the golden ratio: multiples of it keep far apart


class DropBlock(nn.Cell):
    """Drop square blocks of a map, each picture and channel for itself (Ghiasi et al. 2018).

    A block is centred on a place with the probability of their equation 1, so that about
    ``keep`` of the map is kept: a little more, for blocks may overlap. What is kept is
    divided by the share of the whole tensor that was (their algorithm 1). Blocks lie within
    the map; where it is smaller than they are, they have its smaller side (tensorflow/tpu
    ``nn_ops.py``, ``Dropblock``, which cannot build this for maps of 2 pixels).

    Masks are a function of (key, number, shape). Passes its input on where ``keep`` is 1
    and where the cell is not training.

    Args:
        side: of a block, in pixels of the map.
        number: of this layer among those that share a key.

    Called with a map (N, C, H, W), ``keep``, a float32 scalar above 0 and up to 1, and
    ``key``, an int32 scalar that :func:`mix` made; returns a map of that shape and type.
    """

    def __init__(self, side: int, number: int) -> None:
        super().__init__()
        self.side = side
        self.offset = _signed(number * _GOLDEN)
        self.pools = nn.CellList(
            [nn.MaxPool2d(size, 1, pad_mode="same") for size in range(1, side + 1)]
        )

    def construct(self, x: Tensor, keep: Tensor, key: Tensor) -> Tensor:
        if not self.training:
            return x
        n, c, h, w = x.shape
        side = min(self.side, h, w)
        centred = (noise(x.shape, key + self.offset) < _thresholds(keep, h, w, side)).astype(
            mindspore.float32
        )
        kept = 1.0 - self.pools[side - 1](centred)
        # Means of planes first: the sum of a large tensor of ones need not be their number.
        share = (kept.sum((2, 3)) / (h * w)).sum() / (n * c)
        factor = kept / ops.maximum(share, 1.0 / (n * c * h * w))
        # It has no gradient, but compiling that it has none takes seconds.
        return x * ops.stop_gradient(factor).astype(x.dtype)


def noise(shape: tuple[int, int, int, int], seed: Tensor) -> Tensor:
    """Return int32 of ``shape``, uniform over all 2**32 values and pairwise independent.

    Value (n, c, y, x) is ``a * b + d`` mod 2**32 with ``a`` and ``d`` hashes of the plane
    (n, c) and ``b`` a hash of the place (y, x): two multiplications and additions an
    element, no state, and the same on every device (multiply-add hashing: Dietzfelbinger,
    STACS 1996).

    Args:
        seed: int32 scalar; two within ``2 N C + H W`` of each other share hashes.
    """
    n, c, h, w = shape
    planes, places = n * c, h * w
    words = mix(ops.arange(places + 2 * planes).astype(mindspore.int32) + seed)
    place = words[:places].reshape(1, 1, h, w)
    scale = words[places : places + planes].reshape(n, c, 1, 1)
    shift = words[places + planes :].reshape(n, c, 1, 1)
    return scale * place + shift


def mix(x: Tensor) -> Tensor:
    """Return a permutation of the 2**32 values of int32 that looks random.

    Constants: C. Wellons, hash-prospector, ``lowbias32``. Products wrap; the shifts of
    int32 keep the sign, which the masks take away.
    """
    x = x ^ (ops.bitwise_right_shift(x, 16) & 0xFFFF)
    x = x * 0x7FEB352D
    x = x ^ (ops.bitwise_right_shift(x, 15) & 0x1FFFF)
    x = x * (0x846CA68B - 0x100000000)  # as a signed number
    return x ^ (ops.bitwise_right_shift(x, 16) & 0xFFFF)


def _thresholds(keep: Tensor, h: int, w: int, side: int) -> Tensor:
    """Return (1, 1, h, w) int32; noise below it, and only there, makes the centre of a block."""
    rows, columns = h - side + 1, w - side + 1
    gamma = (1.0 - keep) * (h * w / (side * side * rows * columns))
    before, after = side // 2, (side - 1) // 2
    inside = ops.pad(
        ops.ones((1, 1, rows, columns), mindspore.float32), (before, after, before, after)
    )
    return (inside * gamma * 2.0**32 - 2.0**31).astype(mindspore.int32)


def _signed(value: int) -> int:
    return (value + 0x80000000) % 0x100000000 - 0x80000000
