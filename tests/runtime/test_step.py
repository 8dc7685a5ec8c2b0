"""One training step against the update written out by hand."""

from __future__ import annotations

import mindspore
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from nasfpn_runtime.config import Training
from nasfpn_runtime.device import set_device
from nasfpn_runtime.step import TrainStep

KERNEL = np.array([3.0, -4.0], np.float32).reshape(1, 1, 1, 2)  # gradients; norm of all: 13
BIAS = np.array([4.0, 8.0], np.float32)
GAMMA = np.array([8.0], np.float32)


class Linear(nn.Cell):
    """Loss = <kernel, KERNEL> + ..., so that the gradients are the constants above."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Parameter(Tensor(np.ones((1, 1, 1, 2), np.float32)), name="a.kernel")
        self.bias = Parameter(Tensor(np.ones(2, np.float32)), name="a.bias")
        self.gamma = Parameter(Tensor(np.ones(1, np.float32)), name="a.gamma")

    def construct(self, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        return (
            (self.kernel * images).sum() + (self.bias * labels).sum() + (self.gamma * targets).sum()
        )


@pytest.mark.parametrize("clip", [None, 6.5, 100.0])
@pytest.mark.parametrize(
    ("decayed", "what"),
    [
        (("kernel",), "kernels"),
        (("kernel", "bias"), "no_norm"),
        (("kernel", "bias", "gamma"), "all"),
    ],
)
def test_two_steps_are_momentum_with_decay_and_a_clipped_norm(
    decayed: tuple[str, ...], what: str, clip: float | None
) -> None:
    set_device("CPU")
    rates, momentum, decay = [0.1, 0.05], 0.9, 0.01
    net = Linear()
    training = Training(momentum=momentum, weight_decay=decay, decay=what, clip=clip)
    step = TrainStep(net, training, rates)
    step.set_train()
    share = 1.0 if clip is None else min(1.0, clip / 13.0)
    gradients = {"kernel": KERNEL, "bias": BIAS, "gamma": GAMMA}
    values = {name: np.ones(gradient.shape) for name, gradient in gradients.items()}
    velocities = {name: np.zeros(gradient.shape) for name, gradient in gradients.items()}
    for rate in rates:
        loss = step(*map(Tensor, gradients.values()))
        expected = sum((values[name] * gradients[name]).sum() for name in gradients)
        assert float(loss.asnumpy()) == pytest.approx(expected, 1e-5)
        for name, gradient in gradients.items():
            pull = decay * values[name] if name in decayed else 0.0
            velocities[name] = momentum * velocities[name] + share * gradient + pull
            values[name] = values[name] - rate * velocities[name]
            parameter = getattr(net, name)
            np.testing.assert_allclose(parameter.asnumpy(), values[name], rtol=1e-5)
            assert parameter.dtype == mindspore.float32
