"""Focal loss and box loss of a detector, normalised by the number of positive anchors."""

from __future__ import annotations

import mindspore
import numpy as np
from mindspore import Tensor, nn, ops
from numpy.typing import NDArray

from nasfpn_runtime.recipe.settings import Loss


class DetectionLoss(nn.Cell):
    """Scalar loss ``class + box_weight * box`` of a batch, or of a part of one.

    Class: focal loss summed over anchors and classes, divided by the normaliser. Box: Huber loss
    or absolute error, summed over the coordinates that count and divided by 4 times the
    normaliser. With ``settings.skip_zeros`` the coordinates with a non-zero target count,
    otherwise all coordinates of positive anchors. Sources: tensorflow/tpu ``losses.py`` at
    7dc921f; mmdetection 3.3.0 ``anchor_head.py``; model zoo ``retinanet_nasfpn.py`` and
    ``loss.py``.

    Called with logits (N, A, K); deltas (N, A, 4); labels (N, A) int32, an index among the K
    logits, -1 for background or -2 for ignored; targets (N, A, 4), zero where the anchor is not
    positive; and the scalar :func:`normaliser` of the whole batch. With that normaliser the
    losses of the parts of a batch, on one card or several, add up to the loss of the batch.
    """

    def __init__(self, classes: int, settings: Loss) -> None:
        super().__init__()
        self.focal = FocalLoss(classes, settings.alpha, settings.gamma)
        self.settings = settings

    def construct(
        self, logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor, normaliser: Tensor
    ) -> Tensor:
        settings = self.settings
        # If the background is a target it is class 0, so that -1 becomes 0.
        background = (labels == -1).astype(mindspore.int32)
        focal = self.focal(logits, labels + background if settings.background else labels)
        if settings.skip_zeros:
            present = (targets != 0.0).astype(mindspore.float32)
        else:
            present = (labels >= 0).astype(mindspore.float32).expand_dims(2)
        error = deltas - targets
        if settings.huber_delta is None:
            box = ops.abs(error) * present
        else:
            box = huber_loss(error, settings.huber_delta) * present
        return focal / normaliser + settings.box_weight * box.sum() / (4.0 * normaliser)


class FocalLoss(nn.Cell):
    """Logits (N, A, K) and classes (N, A) int32 to the sum of :func:`focal_loss`.

    A class is an index among the K logits, -1 for none, or -2 if the anchor does not count. The
    gradient is written out because automatic differentiation keeps every intermediate result of
    the formula, each as large as the logits.
    """

    def __init__(self, classes: int, alpha: float, gamma: float) -> None:
        super().__init__()
        self.indices = Tensor(np.arange(classes), mindspore.int32).reshape(1, 1, classes)
        self.alpha, self.gamma = alpha, gamma

    def construct(self, logits: Tensor, classes: Tensor) -> Tensor:
        target, counted = self._targets(classes)
        return (focal_loss(logits, target, self.alpha, self.gamma) * counted).sum()

    def bprop(
        self, logits: Tensor, classes: Tensor, out: Tensor, dout: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the gradients by both inputs. Called by MindSpore, see ``nn.Cell.bprop``."""
        target, counted = self._targets(classes)
        slope = focal_slope(logits, target, self.alpha, self.gamma)
        return slope * counted * dout, ops.zeros_like(classes)

    def _targets(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        target = (classes.expand_dims(2) == self.indices).astype(mindspore.float32)
        return target, (classes > -2).astype(mindspore.float32).expand_dims(2)


def positives(labels: NDArray[np.int32], kind: str) -> int:
    """Return what the images with ``labels`` (N, A) contribute to a normaliser of that kind.

    This is the number of positive anchors; for ``picture``, each image counts as at least 1
    (mmdetection 3.3.0 ``sampling_result.py``, ``avg_factor``).
    """
    counts = (labels >= 0).sum(axis=1)
    return int(np.maximum(counts, 1).sum() if kind == "picture" else counts.sum())


def normaliser(count: float, kind: str) -> float:
    """Return the divisor of a batch's sums, given the total :func:`positives` of all its parts.

    It is at least 1. The model zoo divides by zero if a batch has no positives.
    """
    return count + 1.0 if kind == "plus_one" else max(count, 1.0)


def focal_loss(logits: Tensor, target: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the focal loss of every logit, in the shape of ``logits`` (RetinaNet, eq. 5).

    Let ``s`` be +1 for a target of 1 and -1 for a target of 0. Then ``p_t = sigmoid(s x)``,
    ``-log p_t = softplus(-s x)`` and ``(1 - p_t)^gamma = exp(-gamma softplus(s x))``. Computed
    this way, no logarithm of a rounded probability is taken.
    """
    _, cross_entropy, factor = _focal_terms(logits, target, alpha, gamma)
    return factor * cross_entropy


def focal_slope(logits: Tensor, target: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the derivative of :func:`focal_loss` with respect to every logit.

    With the terms defined there, ``d p_t / d(s x) = p_t (1 - p_t)``. The derivative is therefore
    ``-s weight (1 - p_t)^gamma (gamma p_t (-log p_t) + 1 - p_t)``.
    """
    signed, cross_entropy, factor = _focal_terms(logits, target, alpha, gamma)
    slope = gamma * ops.sigmoid(signed) * cross_entropy + ops.sigmoid(-signed)
    return (1.0 - 2.0 * target) * factor * slope


def _focal_terms(
    logits: Tensor, target: Tensor, alpha: float, gamma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``s x``, ``-log p_t`` and ``weight (1 - p_t)^gamma`` of every logit."""
    signed = logits * (2.0 * target - 1.0)
    down = softplus(signed)  # -log(1 - p_t)
    weight = target * (2.0 * alpha - 1.0) + (1.0 - alpha)
    # softplus(-x) = softplus(x) - x
    return signed, down - signed, weight * ops.exp(-gamma * down)


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)) without overflow."""
    return ops.maximum(x, 0.0) + ops.log(1.0 + ops.exp(-ops.abs(x)))


def huber_loss(error: Tensor, delta: float) -> Tensor:
    """Return 0.5 e^2 within ``delta`` and ``delta (|e| - delta / 2)`` beyond, per element."""
    size = ops.abs(error)
    inside = ops.minimum(size, Tensor(delta, mindspore.float32))
    return inside * (size - 0.5 * inside)
