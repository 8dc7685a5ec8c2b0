"""Convolution and batch norm as every other module uses them."""

from __future__ import annotations

from mindspore import Tensor, nn

from nasfpn_runtime.semantics import Semantics


def conv(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    *,
    bias: bool = False,
    padding: str = "symmetric",
) -> nn.Conv2d:
    """Return a convolution; ``padding`` as in ``Semantics.backbone_padding``.

    Weights are zero until :func:`nasfpn_runtime.init.initialise` sets them.
    """
    same = padding == "same"
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride,
        pad_mode="same" if same else "pad",
        padding=0 if same else (kernel - 1) // 2,
        has_bias=bias,
        weight_init="zeros",
        bias_init="zeros",
    )


def norm(channels: int, epsilon: float, momentum: float) -> nn.BatchNorm2d:
    """Return batch norm; MindSpore's momentum is the share of old statistics, as in TF."""
    return nn.BatchNorm2d(channels, eps=epsilon, momentum=momentum)


class ConvNorm(nn.Cell):
    """Convolution and batch norm of the pyramid: (N, Cin, H, W) to (N, Cout, H, W)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, semantics: Semantics, *, bias: bool
    ) -> None:
        super().__init__()
        self.conv = conv(in_channels, out_channels, kernel, bias=bias)
        self.bn = norm(out_channels, semantics.norm_epsilon, semantics.norm_momentum)

    def construct(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))
