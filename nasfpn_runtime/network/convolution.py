"""Convolutions whose gradients need less memory on CPU."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

# px. Smaller images have little memory to save, and the replacement is slower on small maps.
LARGE = 512


class _WeightFirstConv2D(nn.Cell):
    """A convolution whose first input is the weight, so that it can be derived by it."""

    def __init__(self, convolve: ops.Conv2D) -> None:
        super().__init__()
        self.convolve = convolve

    def construct(self, weight: Tensor, x: Tensor) -> Tensor:
        return self.convolve(x, weight)


class LowMemoryConv2D(nn.Cell):
    """A stride-1 convolution whose input gradient needs almost no workspace.

    oneDNN's input-gradient kernel keeps a workspace of ``kernel ** 2`` feature maps (9 for 3x3)
    per thread and layer for the life of the graph. The input gradient is itself a convolution
    with the kernel rotated by 180 degrees and its channels transposed. Computing it that way
    needs almost no workspace, and is as fast except on small maps.

    Args:
        conv: the layer whose operation this replaces.

    Called with a map (N, Cin, H, W) and the weight (Cout, Cin, k, k).
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        side = conv.kernel_size[0]
        self.convolve = conv.conv2d
        self.back = ops.Conv2D(conv.in_channels, side, pad_mode="pad", pad=(side - 1) // 2)
        self.by_weight = _WeightFirstConv2D(conv.conv2d)
        self.gradient = ops.GradOperation(sens_param=True)

    def construct(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.convolve(x, weight)

    def bprop(self, x: Tensor, weight: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients by input and weight. Called by MindSpore, see ``nn.Cell.bprop``."""
        rotated = ops.flip(weight, (2, 3)).swapaxes(0, 1)
        return self.back(dout, rotated), self.gradient(self.by_weight)(weight, x, dout)


def use_low_memory_gradients(network: nn.Cell, size: tuple[int, int]) -> None:
    """Replace the operation of each suitable convolution by a :class:`LowMemoryConv2D`.

    Parameters and their names stay as they are.

    Args:
        size: (height, width) of the input images. If both are below ``LARGE``, nothing changes.
    """
    if max(size) < LARGE:
        return
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.Conv2d) and _is_suitable(cell):
            cell.conv2d = LowMemoryConv2D(cell)


def _is_suitable(conv: nn.Conv2d) -> bool:
    """Return whether the output has the input's size and the kernel is square, odd and dense."""
    side = conv.kernel_size[0]
    same = conv.pad_mode == "same" or (conv.pad_mode == "pad" and conv.padding == (side - 1) // 2)
    plain = conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.group == 1
    odd: bool = conv.kernel_size == (side, side) and side % 2 == 1 and side > 1
    return same and plain and odd
