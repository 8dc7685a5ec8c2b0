"""Convolution and batch norm as every other module uses them."""

from __future__ import annotations

from mindspore import Tensor, nn

from nasfpn_runtime.semantics import Semantics


def conv(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, bias: bool = False
) -> nn.Conv2d:
    """Return a convolution padded symmetrically by ``(kernel - 1) // 2``.

    Weights are zero until :func:`nasfpn_runtime.init.initialise` sets them.
    """
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride,
        pad_mode="pad",
        padding=(kernel - 1) // 2,
        has_bias=bias,
        weight_init="zeros",
        bias_init="zeros",
    )


def norm(channels: int, semantics: Semantics) -> nn.BatchNorm2d:
    """Return batch norm; MindSpore's momentum is the share of old statistics, as in TF."""
    return nn.BatchNorm2d(channels, eps=semantics.norm_epsilon, momentum=semantics.norm_momentum)


class ConvNorm(nn.Cell):
    """Convolution, batch norm and, where asked, ReLU: (N, Cin, H, W) to (N, Cout, H/s, W/s)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        semantics: Semantics,
        *,
        stride: int = 1,
        bias: bool = False,
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.conv = conv(in_channels, out_channels, kernel, stride, bias=bias)
        self.bn = norm(out_channels, semantics)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def construct(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))
