"""Convolutions whose gradients take less memory on CPU."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

# px. Of smaller pictures there is little to spare, and the kernel is slower on small maps.
LARGE = 512


class _ByWeight(nn.Cell):
    """A convolution, weight first."""

    def __init__(self, convolve: ops.Conv2D) -> None:
        super().__init__()
        self.convolve = convolve

    def construct(self, weight: Tensor, x: Tensor) -> Tensor:
        return self.convolve(x, weight)


class Convolve(nn.Cell):
    """What ``conv`` does with (N, Cin, H, W) and its weight, of stride 1.

    oneDNN's kernel for the gradient by the input keeps, in every layer and as long as the graph
    lives, memory for as many copies of a map as a weight has places (9), for each thread. That
    gradient is a convolution, too, with the weight turned by 180 degrees and its channels
    exchanged; the kernel of that keeps next to nothing. It is as fast but on small maps.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        side = conv.kernel_size[0]
        self.convolve = conv.conv2d
        self.back = ops.Conv2D(conv.in_channels, side, pad_mode="pad", pad=(side - 1) // 2)
        self.by_weight = _ByWeight(conv.conv2d)
        self.gradient = ops.GradOperation(sens_param=True)

    def construct(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.convolve(x, weight)

    def bprop(self, x: Tensor, weight: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients; MindSpore calls it, see ``nn.Cell.bprop``."""
        turned = ops.flip(weight, (2, 3)).swapaxes(0, 1)
        return self.back(dout, turned), self.gradient(self.by_weight)(weight, x, dout)


def spare_memory(network: nn.Cell, size: tuple[int, int]) -> None:
    """Give the convolutions of a network that can have it :class:`Convolve`'s gradient.

    Args:
        size: (height, width) of the pictures; nothing is done where both are below ``LARGE``.
    """
    if max(size) < LARGE:
        return
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.Conv2d) and _fits(cell):
            cell.conv2d = Convolve(cell)


def _fits(conv: nn.Conv2d) -> bool:
    side = conv.kernel_size[0]
    same = conv.pad_mode == "same" or (conv.pad_mode == "pad" and conv.padding == (side - 1) // 2)
    plain = conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.group == 1
    odd: bool = conv.kernel_size == (side, side) and side % 2 == 1 and side > 1
    return same and plain and odd
