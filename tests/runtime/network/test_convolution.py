"""Low-memory gradients of convolutions equal MindSpore's own."""

from __future__ import annotations

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from nasfpn_runtime.network.convolution import LARGE, LowMemoryConv2D, use_low_memory_gradients


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
    upstream = Tensor(rng.normal(size=(2, 5, 6, 7)).astype(np.float32))
    results = []
    for replaced in (False, True):
        net = cell()  # type: ignore[operator]
        if replaced:
            use_low_memory_gradients(net, (64, LARGE))
            assert isinstance(net.conv2d, LowMemoryConv2D)
        gradient = ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)
        weights = mindspore.ParameterTuple(net.trainable_params())
        (by_input,), by_weights = gradient(net, weights)(x, upstream)
        names = [parameter.name for parameter in weights]
        results.append((names, [g.asnumpy() for g in (net(x), by_input, *by_weights)]))
    (names, expected), (new_names, ours) = results
    assert new_names == names  # checkpoints depend on them
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"kernel": 1}, {"stride": 2}, {"dilation": 2}, {"group": 4, "channels": 4}, {"padding": 0}],
)
def test_other_convolutions_are_left_alone(options: dict[str, int]) -> None:
    net = conv(**options)  # type: ignore[arg-type]
    use_low_memory_gradients(net, (LARGE, LARGE))
    assert not isinstance(net.conv2d, LowMemoryConv2D)


def test_networks_for_small_images_are_left_alone() -> None:
    net = conv()
    use_low_memory_gradients(net, (LARGE - 1, LARGE - 1))
    assert not isinstance(net.conv2d, LowMemoryConv2D)
