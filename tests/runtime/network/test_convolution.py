"""The gradients of a convolution that spares memory are MindSpore's own."""

from __future__ import annotations

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from nasfpn_runtime.network.convolution import LARGE, Convolve, spare_memory


def conv(kernel: int = 3, channels: int = 5, **options: object) -> nn.Conv2d:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(channels, 4 // int(str(options.get("group", 1))), kernel, kernel))
    settings = {"pad_mode": "pad", "padding": (kernel - 1) // 2, "bias_init": "ones", **options}
    return nn.Conv2d(4, channels, kernel, weight_init=Tensor(weight.astype(np.float32)), **settings)


@pytest.mark.parametrize("mode", ["pynative", "graph"])
@pytest.mark.parametrize(
    "cell",
    [
        lambda: conv(),
        lambda: conv(5),
        lambda: conv(pad_mode="same", padding=0),
        lambda: conv(has_bias=True),
    ],
    ids=["3x3", "5x5", "same", "bias"],
)
def test_gradients_are_those_of_mindspore(
    cell: object, mode: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(mode)
    rng = np.random.default_rng(1)
    x = Tensor(rng.normal(size=(2, 4, 6, 7)).astype(np.float32))
    up = Tensor(rng.normal(size=(2, 5, 6, 7)).astype(np.float32))
    found = []
    for spare in (False, True):
        net = cell()  # type: ignore[operator]
        if spare:
            spare_memory(net, (64, LARGE))
            assert isinstance(net.conv2d, Convolve)
        gradient = ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)
        weights = mindspore.ParameterTuple(net.trainable_params())
        (by_input,), by_weights = gradient(net, weights)(x, up)
        names = [parameter.name for parameter in weights]
        found.append((names, [g.asnumpy() for g in (net(x), by_input, *by_weights)]))
    (names, expected), (spared_names, ours) = found
    assert spared_names == names  # of checkpoints
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"kernel": 1}, {"stride": 2}, {"dilation": 2}, {"group": 4, "channels": 4}, {"padding": 0}],
)
def test_other_convolutions_are_left_alone(options: dict[str, int]) -> None:
    net = conv(**options)  # type: ignore[arg-type]
    spare_memory(net, (LARGE, LARGE))
    assert not isinstance(net.conv2d, Convolve)


def test_small_pictures_have_little_to_spare() -> None:
    net = conv()
    spare_memory(net, (LARGE - 1, LARGE - 1))
    assert not isinstance(net.conv2d, Convolve)
