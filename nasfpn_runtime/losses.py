"""Focal loss and box loss of a detector, normalised by the positives."""

from __future__ import annotations

import mindspore
import numpy as np
from mindspore import Tensor, nn, ops

from nasfpn_runtime.sections import Loss


class DetectionLoss(nn.Cell):
    """Scalar loss ``class + box_weight * box`` of one batch.

    Class: focal loss summed over anchors and classes, divided by the normaliser. Box:
    Huber loss, or the absolute error, summed over the coordinates that count, divided by
    4 times the normaliser. ``settings`` says which coordinates count and what the normaliser
    is. Sources: tensorflow/tpu ``losses.py`` at 7dc921f; mmdetection 3.3.0
    ``anchor_head.py`` and ``sampling_result.py``; model zoo ``retinanet_nasfpn.py`` and
    ``loss.py``, which divides by zero where a batch has no positives: here by 1.

    Called with logits (N, A, K), deltas (N, A, 4), labels (N, A) int32 (class index among
    the K logits, -1 background, -2 ignored) and targets (N, A, 4), zero where the anchor is
    not positive.
    """

    def __init__(self, classes: int, settings: Loss) -> None:
        super().__init__()
        self.indices = Tensor(np.arange(classes), mindspore.int32).reshape(1, 1, classes)
        self.settings = settings

    def construct(self, logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        settings = self.settings
        positive = (labels >= 0).astype(mindspore.float32)
        normaliser = self._normaliser(positive)
        # Class 0, if it is a target, stands where labels are -1; ignored ones are not counted.
        classes = ops.maximum(labels, 0) if settings.background else labels
        target = (classes.expand_dims(2) == self.indices).astype(mindspore.float32)
        counted = (labels > -2).astype(mindspore.float32).expand_dims(2)
        focal = focal_loss(logits, target, settings.alpha, settings.gamma) * counted
        if settings.skip_zeros:
            present = (targets != 0.0).astype(mindspore.float32)
        else:
            present = positive.expand_dims(2)
        error = deltas - targets
        if settings.huber_delta is None:
            box = ops.abs(error) * present
        else:
            box = huber_loss(error, settings.huber_delta) * present
        return focal.sum() / normaliser + settings.box_weight * box.sum() / (4.0 * normaliser)

    def _normaliser(self, positive: Tensor) -> Tensor:
        if self.settings.normaliser == "plus_one":
            return positive.sum() + 1.0
        if self.settings.normaliser == "picture":
            return ops.maximum(positive.sum(1), 1.0).sum()
        return ops.maximum(positive.sum(), 1.0)


def focal_loss(logits: Tensor, target: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the focal loss of every logit, of the shape of ``logits`` (RetinaNet, eq. 5).

    With ``s`` = +1 for a target of 1 and -1 for 0, ``p_t = sigmoid(s x)``, so that
    ``-log p_t = softplus(-s x)`` and ``(1 - p_t)^gamma = exp(-gamma softplus(s x))``:
    no logarithm of a rounded probability.
    """
    signed = logits * (2.0 * target - 1.0)
    down = softplus(signed)  # -log(1 - p_t)
    cross_entropy = down - signed  # softplus(-x) = softplus(x) - x
    weight = target * (2.0 * alpha - 1.0) + (1.0 - alpha)
    return weight * ops.exp(-gamma * down) * cross_entropy


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)) without overflow."""
    size = ops.abs(x)
    # (x + |x|) / 2 and not relu, whose gradient at 0 is 0 where that of softplus is 1/2.
    return 0.5 * (x + size) + ops.log(1.0 + ops.exp(-size))


def huber_loss(error: Tensor, delta: float) -> Tensor:
    """Return 0.5 e^2 within ``delta`` and ``delta (|e| - delta / 2)`` beyond, per element."""
    size = ops.abs(error)
    inside = ops.minimum(size, Tensor(delta, mindspore.float32))
    return inside * (size - 0.5 * inside)
