"""One training step against the update written out by hand."""

from __future__ import annotations

import mindspore
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from nasfpn_runtime.config import Training
from nasfpn_runtime.device import set_device
from nasfpn_runtime.step import TrainStep

A = np.array([3.0, -4.0], np.float32).reshape(1, 1, 1, 2)  # gradient of the kernel
B = np.array([12.0], np.float32)  # gradient of the bias; norm of both: 13


class Linear(nn.Cell):
    """Loss = <kernel, A> + <bias, B>, so that the gradients are A and B."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Parameter(Tensor(np.ones((1, 1, 1, 2), np.float32)), name="kernel")
        self.bias = Parameter(Tensor(np.ones(1, np.float32)), name="bias")

    def construct(self, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        return (self.kernel * images).sum() + (self.bias * labels).sum() + targets.sum()


@pytest.mark.parametrize("clip", [None, 6.5, 100.0])
def test_two_steps_are_momentum_with_decay_on_kernels_and_a_clipped_norm(
    clip: float | None,
) -> None:
    set_device("CPU")
    rates, momentum, decay = [0.1, 0.05], 0.9, 0.01
    net = Linear()
    step = TrainStep(net, Training(momentum=momentum, weight_decay=decay, clip=clip), rates)
    step.set_train()
    share = 1.0 if clip is None else min(1.0, clip / 13.0)
    kernel, bias = np.ones((1, 1, 1, 2)), np.ones(1)
    velocity_k, velocity_b = np.zeros_like(kernel), np.zeros_like(bias)
    for rate in rates:
        loss = step(Tensor(A), Tensor(B), Tensor(np.zeros(1, np.float32)))
        assert float(loss.asnumpy()) == pytest.approx((kernel * A).sum() + (bias * B).sum(), 1e-5)
        velocity_k = momentum * velocity_k + share * A + decay * kernel
        velocity_b = momentum * velocity_b + share * B
        kernel, bias = kernel - rate * velocity_k, bias - rate * velocity_b
        np.testing.assert_allclose(net.kernel.asnumpy(), kernel, rtol=1e-5)
        np.testing.assert_allclose(net.bias.asnumpy(), bias, rtol=1e-5)
    assert net.kernel.dtype == mindspore.float32
