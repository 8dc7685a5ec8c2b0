"""Focal and Huber loss against the formulas in float64, and a complete loss by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import mindspore
import numpy as np
import pytest
from mindspore import Tensor
from numpy.typing import NDArray

from nasfpn_runtime.network.losses import (
    DetectionLoss,
    FocalLoss,
    focal_loss,
    focal_slope,
    huber_loss,
    normaliser,
    positives,
)
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.recipe.settings import Loss

Array = NDArray[np.float64]

EPS = float(np.finfo(np.float32).eps)
SUBNORMAL = 2 * float(np.finfo(np.float32).tiny)  # smaller terms may be flushed to zero
WIDE = np.concatenate([np.linspace(-60, 60, 481), [-1e-3, 1e-3, -1e-30, 1e-30]])


def tensor(values: object) -> Tensor:
    return Tensor(np.asarray(values, np.float32))


def textbook(x: Array, target: int, alpha: float, gamma: float) -> tuple[Array, Array, Array]:
    """Return -a_t (1 - p_t)^gamma log p_t, its derivative in x, and a_t (1 - p_t)^gamma.

    log p_t and log(1 - p_t) use logaddexp, because float64 rounds sigmoid(60) to 1.
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
    our_slope = focal_slope(tensor(x), goal, alpha, gamma).asnumpy()
    # MindSpore's exp on CPU is accurate to 31 EPS; softplus(x) is accurate to EPS * |x| before it
    # is subtracted or exponentiated.
    rounding = 32 * EPS * (1 + np.abs(x))
    bound = rounding * (factor + (1 + gamma) * value) + SUBNORMAL
    assert np.all(np.abs(ours - value) <= bound)
    bound = rounding * (1 + gamma) * (factor + (1 + gamma) * value + np.abs(slope))
    assert np.all(np.abs(our_slope - slope) <= bound + SUBNORMAL)


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("target", [0, 1])
def test_a_logit_of_exactly_zero_has_a_gradient(target: int) -> None:
    # For gamma 0 and alpha 1/2 it is half of p - target, with p = 1/2.
    goal = tensor([target])
    slope = focal_slope(tensor([0.0]), goal, 0.5, 0.0)
    assert slope.asnumpy()[0] == (0.5 - target) / 2


@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_the_explicit_gradient_is_that_of_automatic_differentiation(
    mode: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(mode)
    rng = np.random.default_rng(0)
    logits = tensor(rng.normal(0, 3, (2, 30, 4)))
    classes = rng.choice([-2, -1, 0, 1, 2, 3], (2, 30)).astype(np.int32)
    one_hot, counted = tensor(classes[..., None] == np.arange(4)), tensor(classes > -2)

    cell, labels = FocalLoss(4, 0.75, 1.5), Tensor(classes)

    def formula(x: Tensor) -> Tensor:
        return (focal_loss(x, one_hot, 0.75, 1.5) * counted.expand_dims(2)).sum() * 7.0

    def explicit(x: Tensor) -> Tensor:
        return cell(x, labels) * 7.0

    gradient = mindspore.grad(explicit)(logits).asnumpy()
    np.testing.assert_allclose(gradient, mindspore.grad(formula)(logits).asnumpy(), atol=1e-5)
    assert (np.abs(gradient).max(axis=2) > 0).tolist() == (classes > -2).tolist()


@pytest.mark.usefixtures("pynative")
def test_with_gamma_zero_it_is_half_the_cross_entropy() -> None:
    target = np.arange(len(WIDE)) % 2
    cross_entropy = np.logaddexp(0, WIDE) - target * WIDE
    ours = focal_loss(tensor(WIDE), tensor(target), 0.5, 0.0).asnumpy()
    np.testing.assert_allclose(ours, cross_entropy / 2, rtol=1e-6, atol=60 * EPS)


@pytest.mark.usefixtures("pynative")
def test_huber_loss_by_hand() -> None:
    # 0.5 * 0.05^2; at the joint 0.5 * 0.1^2; beyond it 0.1 * (0.3 - 0.05) and 0.1 * (2 - 0.05).
    error = tensor([0.0, 0.05, -0.1, -0.3, 2.0])
    ours = huber_loss(error, 0.1).asnumpy()
    np.testing.assert_allclose(ours, [0, 0.00125, 0.005, 0.025, 0.195], rtol=1e-6)
    slope = mindspore.grad(lambda e: huber_loss(e, 0.1).sum())(error).asnumpy()
    np.testing.assert_allclose(slope, [0, 0.05, -0.1, -0.1, 0.1], rtol=1e-6)


# Three anchors, two classes. The first anchor has class 1, the second is background, the third is
# ignored. The second target of the first anchor is exactly zero, so its delta does not count.
SETTINGS = Loss(alpha=0.25, gamma=1.0, huber_delta=0.1, box_weight=50.0)
LOGITS = [[0.0, 0.0], [0.0, 0.0], [30.0, -30.0]]
DELTAS = [[0.55, 9.0, 0.1, 0.1], [7.0] * 4, [7.0] * 4]
LABELS = [1, -1, -2]
TARGETS = [[0.5, 0.0, -0.2, 0.1], [0.0] * 4, [0.0] * 4]
# With p = 1/2, alpha = 1/4 and gamma = 1, a target costs 1/4 * 1/2 * ln 2 and any other class
# 3/4 * 1/2 * ln 2. That is (3 + 1) / 8 * ln 2 for the first anchor and (3 + 3) / 8 * ln 2 for the
# second.
CLASS_SUM = 10 / 8 * math.log(2)
# The errors are 0.05, 0.3 and 0: 0.00125 + 0.025.
BOX_SUM = 0.02625


@pytest.mark.parametrize("mode", ["pynative", "graph"])
@pytest.mark.parametrize("pictures", [1, 2])
def test_a_complete_loss_by_hand(mode: str, pictures: int, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(mode)
    loss = DetectionLoss(2, SETTINGS)
    labels = Tensor(np.array([LABELS] * pictures, np.int32))
    batch = (tensor([LOGITS] * pictures), tensor([DELTAS] * pictures), labels)
    # One positive per image, plus one.
    divisor = pictures + 1
    ours = loss(*batch, tensor([TARGETS] * pictures), tensor(divisor)).asnumpy()
    expected = pictures * (CLASS_SUM / divisor + 50 * BOX_SUM / (4 * divisor))
    assert ours == pytest.approx(expected, rel=1e-6)


@pytest.mark.usefixtures("pynative")
def test_ignored_anchors_and_absent_coordinates_have_no_gradient() -> None:
    loss = DetectionLoss(2, SETTINGS)
    labels, targets = Tensor(np.array([LABELS], np.int32)), tensor([TARGETS])
    logits, deltas = mindspore.grad(lambda x, d: loss(x, d, labels, targets, tensor(2)), (0, 1))(
        tensor([LOGITS]), tensor([DELTAS])
    )
    assert (logits.asnumpy()[0] != 0).tolist() == [[True, True], [True, True], [False, False]]
    # The last coordinate of the first anchor is correct already, apart from rounding.
    assert (deltas.asnumpy()[0, :, :3] != 0).tolist() == [[True, False, True], *[[False] * 3] * 2]
    assert np.abs(deltas.asnumpy()[0, 1:]).max() == 0


@pytest.mark.usefixtures("pynative")
def test_an_image_without_objects_has_a_finite_loss() -> None:
    loss = DetectionLoss(1, SETTINGS)
    background = Tensor(np.full((1, 2), -1, np.int32))
    zeros = tensor(np.zeros((1, 2, 4)))
    # Two logits of 3/4 * 1/2 * ln 2, divided by (0 + 1).
    ours = loss(tensor(np.zeros((1, 2, 1))), zeros + 3.0, background, zeros, tensor(1)).asnumpy()
    assert ours == pytest.approx(0.75 * math.log(2), rel=1e-6)


def tf_loss(logits: Array, deltas: Array, labels: Array, targets: Array) -> float:
    """tensorflow/tpu ``losses.py``: ``RetinanetClassLoss`` and ``RetinanetBoxLoss``."""
    normaliser = (labels >= 0).sum() + 1
    one_hot = labels[..., None] == np.arange(logits.shape[2])
    focal = focal_table(logits, one_hot, 0.25, 1.5)[labels != -2].sum()
    error = np.abs(deltas - targets)[targets != 0]
    huber = np.where(error <= 0.1, 0.5 * error**2, 0.1 * error - 0.005).sum()
    return float(focal / normaliser + 50 * huber / (4 * normaliser))


def mmdet_loss(logits: Array, deltas: Array, labels: Array, targets: Array) -> float:
    """mmdetection: ``FocalLoss``, ``L1Loss``, and ``SamplingResult.avg_factor`` of pictures."""
    factor = sum(max(1, int((picture >= 0).sum())) for picture in labels)
    one_hot = labels[..., None] == np.arange(logits.shape[2])
    focal = focal_table(logits, one_hot, 0.25, 2.0)[labels != -2].sum()
    return float((focal + np.abs(deltas - targets)[labels >= 0].sum()) / factor)


def zoo_loss(logits: Array, deltas: Array, labels: Array, targets: Array) -> float:
    """The model zoo's ``retinanetWithLossCell``; its label 0 is the background."""
    positives = (labels > 0).sum()
    one_hot = np.maximum(labels, 0)[..., None] == np.arange(logits.shape[2])
    focal = focal_table(logits, one_hot, 0.75, 2.0)[labels != -2].sum()
    error = np.abs(deltas - targets)
    smooth = np.where(error < 1, 0.5 * error**2, error - 0.5).mean(axis=-1)
    return float((focal + smooth[labels > 0].sum()) / positives)


def focal_table(logits: Array, one_hot: NDArray[np.bool_], alpha: float, gamma: float) -> Array:
    """Return the focal loss of every logit, computed from the probabilities."""
    p = 1 / (1 + np.exp(-logits))
    p_t, a_t = np.where(one_hot, p, 1 - p), np.where(one_hot, alpha, 1 - alpha)
    return np.asarray(-a_t * (1 - p_t) ** gamma * np.log(p_t))


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "reference"), [("tf", tf_loss), ("mmdet", mmdet_loss), ("modelzoo", zoo_loss)]
)
def test_the_loss_of_a_dialect_is_that_of_its_source(
    name: str, reference: Callable[[Array, Array, Array, Array], float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    classes, first = 4, 0 if name == "mmdet" else 1
    logits, deltas = rng.normal(0, 3, (3, 20, classes)), rng.normal(0, 2, (3, 20, 4))
    labels = rng.choice([-2, -1, *range(first, classes)], (3, 20))
    labels[0] = -1  # an image without objects, which mmdetection counts as one positive
    targets = np.where((labels >= 0)[..., None], rng.normal(size=(3, 20, 4)), 0)
    targets[1, :, 2] = 0  # coordinates that are correct already
    settings = load_recipe(f"{name}-r50-7x256-640").loss
    loss = DetectionLoss(classes, settings)
    labels = labels.astype(np.int32)
    kind = settings.normaliser
    # The losses of the two parts of the batch add up.
    divisor = normaliser(positives(labels[:1], kind) + positives(labels[1:], kind), kind)
    arrays = (tensor(logits), tensor(deltas), Tensor(labels), tensor(targets))
    ours = sum(
        loss(*(array[part] for array in arrays), tensor(divisor)).asnumpy()
        for part in (slice(1), slice(1, 3))
    )
    assert ours == pytest.approx(reference(logits, deltas, labels, targets), rel=1e-5)


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("name", ["tf", "mmdet", "modelzoo"])
def test_a_batch_without_objects_has_a_finite_loss(name: str) -> None:
    # The model zoo would divide by 0; here the divisor is 1, as in the others.
    settings = load_recipe(f"{name}-r50-7x256-640").loss
    loss = DetectionLoss(2, settings)
    background, zeros = np.full((1, 2), -1, np.int32), tensor(np.zeros((1, 2, 4)))
    divisor = normaliser(positives(background, settings.normaliser), settings.normaliser)
    ours = loss(
        tensor(np.zeros((1, 2, 2))), zeros + 3.0, Tensor(background), zeros, tensor(divisor)
    ).asnumpy()
    # Each of 4 logits costs (1 - alpha) / 2^gamma * ln 2. Two of the zoo's are the background,
    # which is a target, and cost alpha / 2^gamma * ln 2 each.
    expected = {"tf": 4 * 0.75 / 2**1.5, "mmdet": 4 * 0.75 / 4, "modelzoo": 4 * 0.5 / 4}
    assert ours == pytest.approx(expected[name] * math.log(2), rel=1e-5)
