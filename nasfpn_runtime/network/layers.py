"""The convolutions and batch norms that all other network modules are built from."""

from __future__ import annotations

from mindspore import Tensor, nn

from nasfpn_runtime.recipe.dialects import Dialect


def conv(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    *,
    bias: bool = False,
    padding: str = "symmetric",
    groups: int = 1,
) -> nn.Conv2d:
    """Return a convolution with all weights zero.

    :func:`nasfpn_runtime.network.init.initialise` sets the weights.

    Args:
        padding: ``symmetric`` or ``same``, see ``Dialect.backbone_padding``.
    """
    same = padding == "same"
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride,
        pad_mode="same" if same else "pad",
        padding=0 if same else (kernel - 1) // 2,
        group=groups,
        has_bias=bias,
        weight_init="zeros",
        bias_init="zeros",
    )


class BatchNorm(nn.BatchNorm2d):
    """The base class for maps (N, C, H, W) only.

    Its graph has two branches in place of six, so that networks compile in less time.
    """

    def construct(self, x: Tensor) -> Tensor:
        state = (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        if self.training and self.use_batch_statistics is None:
            return self.bn_train(x, *state)[0]
        return self.bn_infer(x, *state)[0]


def norm(channels: int, epsilon: float, momentum: float) -> nn.BatchNorm2d:
    """Return batch norm.

    Args:
        momentum: fraction of the old running statistics that a step keeps, as in TensorFlow.
    """
    return BatchNorm(channels, eps=epsilon, momentum=momentum)


class BackboneConv(nn.Cell):
    """Convolution, batch norm, activation: (N, Cin, H, W) to (N, Cout, H/s, W/s)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        dialect: Dialect,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Cell] = nn.Identity,
    ) -> None:
        super().__init__()
        padding = dialect.backbone_padding
        self.conv = conv(in_channels, out_channels, kernel, stride, padding=padding, groups=groups)
        self.bn = norm(out_channels, dialect.backbone_epsilon, dialect.norm_momentum)
        self.relu = activation()

    def construct(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class SeparableConv(nn.Cell):
    """Depthwise 3x3, then pointwise 1x1 convolution: (N, Cin, H, W) to (N, Cout, H, W).

    There is nothing between the two, and only the second has a bias (``Layers.separable``).
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.depthwise = conv(in_channels, in_channels, 3, groups=in_channels)
        self.pointwise = conv(in_channels, out_channels, 1, bias=bias)

    def construct(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


def conv3(in_channels: int, out_channels: int, dialect: Dialect, *, bias: bool) -> nn.Cell:
    """Return the 3x3 convolution of a cell or head; separable if the dialect's layers are."""
    if dialect.layers.separable:
        return SeparableConv(in_channels, out_channels, bias=bias)
    return conv(in_channels, out_channels, 3, bias=bias)


class ConvNorm(nn.Cell):
    """Convolution, then batch norm, of the pyramid: (N, Cin, H, W) to (N, Cout, H, W)."""

    def __init__(self, convolution: nn.Cell, channels: int, dialect: Dialect) -> None:
        super().__init__()
        self.conv = convolution
        self.bn = norm(channels, dialect.norm_epsilon, dialect.norm_momentum)

    def construct(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))
