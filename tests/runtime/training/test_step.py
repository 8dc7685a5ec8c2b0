"""The training step compared with updates computed by hand."""

from __future__ import annotations

import mindspore
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from numpy.typing import NDArray

import searched_archs
from nasfpn_runtime.bench.step import random_batch
from nasfpn_runtime.cluster.device import set_device
from nasfpn_runtime.network.build import build_network
from nasfpn_runtime.network.init import initialise
from nasfpn_runtime.network.losses import DetectionLoss
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.recipe.settings import Training
from nasfpn_runtime.training.step import SCALE_WINDOW, DetectorWithLoss, TrainStep, use_precision

KERNEL = np.array([3.0, -4.0], np.float32).reshape(1, 1, 1, 2)  # gradients; norm of all: 13
BIAS = np.array([4.0, 8.0], np.float32)
GAMMA = np.array([8.0], np.float32)
GRADIENTS = {"kernel": KERNEL, "bias": BIAS, "gamma": GAMMA}


class Linear(nn.Cell):
    """Loss = <kernel, first input> + ..., so that the inputs are the gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Parameter(Tensor(np.ones((1, 1, 1, 2), np.float32)), name="a.kernel")
        self.bias = Parameter(Tensor(np.ones(2, np.float32)), name="a.bias")
        self.gamma = Parameter(Tensor(np.ones(1, np.float32)), name="a.gamma")

    def construct(self, kernel: Tensor, bias: Tensor, gamma: Tensor) -> Tensor:
        return (self.kernel * kernel).sum() + (self.bias * bias).sum() + (self.gamma * gamma).sum()


def part(fraction: float = 1.0) -> tuple[Tensor, ...]:
    """Return inputs that give a fraction of the gradients above."""
    return tuple(Tensor(np.float32(fraction) * gradient) for gradient in GRADIENTS.values())


@pytest.fixture(autouse=True)
def _graph_mode() -> None:
    set_device("CPU")


@pytest.mark.slow
@pytest.mark.parametrize("fractions", [(1.0,), (0.5, 0.25, 0.25)])
@pytest.mark.parametrize("clip", [None, 6.5, 100.0])
@pytest.mark.parametrize(
    ("decayed", "what"),
    [
        (("kernel",), "kernels"),
        (("kernel", "bias"), "no_norm"),
        (("kernel", "bias", "gamma"), "all"),
    ],
)
def test_two_updates_are_momentum_with_decay_and_a_clipped_norm(
    decayed: tuple[str, ...], what: str, clip: float | None, fractions: tuple[float, ...]
) -> None:
    rates, momentum, decay = [0.1, 0.05], 0.9, 0.01
    net = Linear()
    training = Training(momentum=momentum, weight_decay=decay, decay=what, clip=clip)
    step = TrainStep(net, training, rates)
    kept = 1.0 if clip is None else min(1.0, clip / 13.0)
    values = {name: np.ones(gradient.shape) for name, gradient in GRADIENTS.items()}
    velocities = {name: np.zeros(gradient.shape) for name, gradient in GRADIENTS.items()}
    for rate in rates:
        outcome = step(*map(part, fractions))
        expected = sum((values[name] * GRADIENTS[name]).sum() for name in GRADIENTS)
        assert outcome.loss == pytest.approx(expected, 1e-5)
        assert outcome.finite
        for name, gradient in GRADIENTS.items():
            pull = decay * values[name] if name in decayed else 0.0
            velocities[name] = momentum * velocities[name] + kept * gradient + pull
            values[name] = values[name] - rate * velocities[name]
            parameter = getattr(net, name)
            np.testing.assert_allclose(parameter.asnumpy(), values[name], rtol=1e-5)
            assert parameter.dtype == mindspore.float32


@pytest.mark.slow
@pytest.mark.parametrize("fractions", [(1.0,), (0.5, 0.5)])
def test_averages_follow_the_weights_and_can_replace_them(fractions: tuple[float, ...]) -> None:
    net = Linear()
    training = Training(momentum=0.0, weight_decay=0.0, ema=0.3)
    step = TrainStep(net, training, [0.1] * 4)
    weight, average = np.ones(1), np.ones(1)
    for age in range(1, 5):
        step(*map(part, fractions))
        weight = weight - 0.1 * GAMMA
        kept = min(0.3, (1 + age) / (10 + age))  # 2/11, 3/12, 4/13, then 0.3
        average = kept * average + (1 - kept) * weight
        with step.averaged():
            np.testing.assert_allclose(net.gamma.asnumpy(), average, rtol=1e-5)
        np.testing.assert_allclose(net.gamma.asnumpy(), weight, rtol=1e-5)


@pytest.mark.slow
def test_gradients_that_overflow_halve_the_scale_and_change_nothing_else() -> None:
    net = Linear()
    training = Training(precision="float16", loss_scale=8.0, momentum=0.5, ema=0.5, clip=1e9)
    step = TrainStep(net, training, [0.1, 0.05])  # of the updates that are finite
    step(part())
    before = {p.name: p.asnumpy().copy() for p in step.state.get_parameters()}
    assert step.scale == 8.0
    huge = part(3e37)  # gamma gets 2.4e38, which overflows float32 even with a scale of 2
    for scale in (4.0, 2.0, 1.0):
        assert not step(huge).finite
        assert step.scale == scale
    for p in step.state.get_parameters():
        if p.name not in ("loss_scale", "finite_updates", "learning_rate"):
            np.testing.assert_array_equal(p.asnumpy(), before[p.name], err_msg=p.name)
    assert step(part()).finite
    # The first update subtracts 0.1 * 8 from gamma, and the second 0.05 * (0.5 * 8 + 8).
    np.testing.assert_allclose(net.gamma.asnumpy(), 1.0 - 0.8 - 0.6, rtol=1e-5)


@pytest.mark.slow
def test_the_scale_doubles_after_many_finite_updates_without_changing_them() -> None:
    nets = Linear(), Linear()
    scaled = TrainStep(nets[0], Training(precision="float16", loss_scale=8.0), [0.01] * 3)
    plain = TrainStep(nets[1], Training(), [0.01] * 3)
    scaled.update.finite_updates.set_data(Tensor(SCALE_WINDOW - 2.0, mindspore.float32))
    for scale in (8.0, 16.0, 16.0):
        scaled(part())
        plain(part())
        assert scaled.scale == scale
        for name in GRADIENTS:  # scales are powers of two: exact
            ours, theirs = (getattr(net, name).asnumpy() for net in nets)
            np.testing.assert_array_equal(ours, theirs)


def small_step(precision: str) -> tuple[float, dict[str, NDArray[np.float32]]]:
    """Return the loss of a small detector's first update, and what the update changed."""
    settings = ["model.width=2", "model.channels=2", "model.stacks=1", "training.warmup_epochs=0"]
    recipe = load_recipe("shapes", [*settings, f"training.precision={precision}"])
    net = build_network(recipe, searched_archs.load("fpn"), 3, drop_block=3)
    initialise(net, 0)
    use_precision(net, precision)
    before = {p.name: p.asnumpy().copy() for p in net.trainable_params()}
    network = DetectorWithLoss(net, DetectionLoss(4, recipe.loss))
    outcome = TrainStep(network, recipe.training, [0.1])(random_batch(128, pictures=1))
    assert outcome.finite
    assert {p.dtype for p in net.get_parameters()} == {mindspore.float32}
    return outcome.loss, {p.name: p.asnumpy() - before[p.name] for p in net.trainable_params()}


def test_float16_follows_float32() -> None:
    loss, changes = small_step("float32")
    half_loss, half_changes = small_step("float16")
    assert half_loss == pytest.approx(loss, rel=1e-2)
    # float16 has eleven significant bits, and there are thirty layers.
    ours = np.concatenate([change.ravel() for change in half_changes.values()])
    theirs = np.concatenate([change.ravel() for change in changes.values()])
    assert np.dot(ours, theirs) > 0.99 * np.linalg.norm(ours) * np.linalg.norm(theirs)
    assert (ours != theirs).any()
