"""Focal and Huber loss against the formulas in float64, and a whole loss by hand."""

from __future__ import annotations

import math

import mindspore
import numpy as np
import pytest
from mindspore import Tensor
from numpy.typing import NDArray

from nasfpn_runtime.losses import DetectionLoss, focal_loss, huber_loss

Array = NDArray[np.float64]

EPS = float(np.finfo(np.float32).eps)
SUBNORMAL = 2 * float(np.finfo(np.float32).tiny)  # below it terms may be taken for zero
WIDE = np.concatenate([np.linspace(-60, 60, 481), [-1e-3, 1e-3, -1e-30, 1e-30]])


def tensor(values: object) -> Tensor:
    return Tensor(np.asarray(values, np.float32))


def textbook(x: Array, target: int, alpha: float, gamma: float) -> tuple[Array, Array, Array]:
    """Return -a_t (1 - p_t)^gamma log p_t, its derivative in x, and a_t (1 - p_t)^gamma.

    log p_t and log(1 - p_t) by logaddexp: float64 rounds sigmoid(60) to 1.
    """
    sign = 2 * target - 1
    log_p, log_q = -np.logaddexp(0, -sign * x), -np.logaddexp(0, sign * x)
    factor = (alpha if target else 1 - alpha) * np.exp(gamma * log_q)
    # d log p_t / dx = s (1 - p_t), d (1 - p_t)^g / dx = -s g (1 - p_t)^g p_t
    slope = sign * factor * (gamma * np.exp(log_p) * log_p - np.exp(log_q))
    return -factor * log_p, slope, factor


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 1.5), (0.25, 2.0), (0.9, 0.0)])
def test_focal_loss_is_the_textbook_formula(target: int, alpha: float, gamma: float) -> None:
    x = WIDE.astype(np.float32)
    goal = tensor(np.full_like(x, target))
    value, slope, factor = textbook(x.astype(np.float64), target, alpha, gamma)
    ours = focal_loss(tensor(x), goal, alpha, gamma).asnumpy()
    found = mindspore.grad(lambda v: focal_loss(v, goal, alpha, gamma).sum())(tensor(x)).asnumpy()
    # MindSpore's exp on CPU is good to 31 EPS, and softplus(x) to EPS * |x| before it is
    # subtracted or exponentiated.
    rounding = 32 * EPS * (1 + np.abs(x))
    bound = rounding * (factor + (1 + gamma) * value) + SUBNORMAL
    assert np.all(np.abs(ours - value) <= bound)
    bound = rounding * (1 + gamma) * (factor + (1 + gamma) * value + np.abs(slope))
    assert np.all(np.abs(found - slope) <= bound + SUBNORMAL)


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("target", [0, 1])
def test_a_logit_of_exactly_zero_learns(target: int) -> None:
    # gamma 0, alpha 1/2: half of p - target, with p = 1/2.
    goal = tensor([target])
    slope = mindspore.grad(lambda v: focal_loss(v, goal, 0.5, 0.0).sum())(tensor([0.0]))
    assert slope.asnumpy()[0] == (0.5 - target) / 2


@pytest.mark.usefixtures("pynative")
def test_without_focus_it_is_half_the_cross_entropy() -> None:
    target = np.arange(len(WIDE)) % 2
    cross_entropy = np.logaddexp(0, WIDE) - target * WIDE
    ours = focal_loss(tensor(WIDE), tensor(target), 0.5, 0.0).asnumpy()
    np.testing.assert_allclose(ours, cross_entropy / 2, rtol=1e-6, atol=60 * EPS)


@pytest.mark.usefixtures("pynative")
def test_huber_loss_by_hand() -> None:
    # 0.5 * 0.05^2; at the joint 0.5 * 0.1^2; beyond it 0.1 * (0.3 - 0.05), 0.1 * (2 - 0.05).
    error = tensor([0.0, 0.05, -0.1, -0.3, 2.0])
    ours = huber_loss(error, 0.1).asnumpy()
    np.testing.assert_allclose(ours, [0, 0.00125, 0.005, 0.025, 0.195], rtol=1e-6)
    slope = mindspore.grad(lambda e: huber_loss(e, 0.1).sum())(error).asnumpy()
    np.testing.assert_allclose(slope, [0, 0.05, -0.1, -0.1, 0.1], rtol=1e-6)


# Three anchors, two classes. The first finds class 1, the second nothing, the third is
# ignored. The first's second target is exactly zero, so that its delta does not count.
LOGITS = [[0.0, 0.0], [0.0, 0.0], [30.0, -30.0]]
DELTAS = [[0.55, 9.0, 0.1, 0.1], [7.0] * 4, [7.0] * 4]
LABELS = [1, -1, -2]
TARGETS = [[0.5, 0.0, -0.2, 0.1], [0.0] * 4, [0.0] * 4]
# With p = 1/2, alpha = 1/4 and gamma = 1 a target costs 1/4 * 1/2 * ln 2 and anything else
# 3/4 * 1/2 * ln 2: (3 + 1) / 8 * ln 2 for the first anchor, (3 + 3) / 8 * ln 2 for the second.
CLASS_SUM = 10 / 8 * math.log(2)
# Errors 0.05, 0.3 and 0: 0.00125 + 0.025.
BOX_SUM = 0.02625


@pytest.mark.parametrize("mode", ["pynative", "graph"])
@pytest.mark.parametrize("pictures", [1, 2])
def test_a_whole_loss_by_hand(mode: str, pictures: int, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(mode)
    loss = DetectionLoss(classes=2, alpha=0.25, gamma=1.0, huber_delta=0.1, box_weight=50.0)
    labels = Tensor(np.array([LABELS] * pictures, np.int32))
    batch = (tensor([LOGITS] * pictures), tensor([DELTAS] * pictures), labels)
    ours = loss(*batch, tensor([TARGETS] * pictures)).asnumpy()
    # One positive a picture, over the batch, and one more.
    positives = pictures + 1
    expected = pictures * (CLASS_SUM / positives + 50 * BOX_SUM / (4 * positives))
    assert ours == pytest.approx(expected, rel=1e-6)


@pytest.mark.usefixtures("pynative")
def test_nothing_is_learnt_from_ignored_anchors_and_absent_coordinates() -> None:
    loss = DetectionLoss(classes=2, alpha=0.25, gamma=1.0, huber_delta=0.1, box_weight=50.0)
    labels, targets = Tensor(np.array([LABELS], np.int32)), tensor([TARGETS])
    logits, deltas = mindspore.grad(lambda x, d: loss(x, d, labels, targets), (0, 1))(
        tensor([LOGITS]), tensor([DELTAS])
    )
    assert (logits.asnumpy()[0] != 0).tolist() == [[True, True], [True, True], [False, False]]
    # The last coordinate of the first anchor is exact already, but for rounding.
    assert (deltas.asnumpy()[0, :, :3] != 0).tolist() == [[True, False, True], *[[False] * 3] * 2]
    assert np.abs(deltas.asnumpy()[0, 1:]).max() == 0


@pytest.mark.usefixtures("pynative")
def test_a_picture_without_objects_has_a_finite_loss() -> None:
    loss = DetectionLoss(classes=1, alpha=0.25, gamma=1.0, huber_delta=0.1, box_weight=50.0)
    background = Tensor(np.full((1, 2), -1, np.int32))
    zeros = tensor(np.zeros((1, 2, 4)))
    # Two logits of 3/4 * 1/2 * ln 2 over (0 + 1).
    ours = loss(tensor(np.zeros((1, 2, 1))), zeros + 3.0, background, zeros).asnumpy()
    assert ours == pytest.approx(0.75 * math.log(2), rel=1e-6)
