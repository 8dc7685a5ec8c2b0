"""Learning rate of every step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.config import Training

# tensorflow/tpu retinanet_config.py: from 0.0067 to 0.08, a tenth at 60k and 80k of 90k steps.
WARMUP_START = 1 / 12
STEPS = (2 / 3, 8 / 9)


def learning_rates(training: Training, steps_per_epoch: int) -> NDArray[np.float32]:
    """Return the learning rate of each step of the run, (epochs * steps_per_epoch,) float32.

    Warm-up rises linearly from a twelfth of the rate; the schedule runs over the whole
    length, so warm-up covers its beginning.
    """
    total = training.epochs * steps_per_epoch
    step = np.arange(total)
    if training.schedule == "cosine":
        factor = 0.5 * (1 + np.cos(np.pi * step / total))
    else:
        factor = np.where(
            step < STEPS[0] * total, 1.0, np.where(step < STEPS[1] * total, 0.1, 0.01)
        )
    warmup = min(total, round(training.warmup_epochs * steps_per_epoch))
    if warmup:
        ramp = WARMUP_START + (1 - WARMUP_START) * step[:warmup] / warmup
        factor[:warmup] = np.minimum(factor[:warmup], 1.0) * ramp
    rates: NDArray[np.float32] = (training.lr * factor).astype(np.float32)
    return rates
