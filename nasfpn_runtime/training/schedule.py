"""Learning rate of every step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.recipe.settings import Ramp, Training

# tensorflow/tpu retinanet_config.py: from 0.0067 to 0.08, a tenth at 60k and 80k of 90k steps.
WARMUP_START = 1 / 12
STEPS = (2 / 3, 8 / 9)


def learning_rates(training: Training, steps_per_epoch: int) -> NDArray[np.float32]:
    """Return the learning rate of each step of the run, (epochs * steps_per_epoch,) float32.

    With ``warmup_epochs`` the rate rises linearly from a twelfth while the schedule, which
    runs over the whole length, falls: the two are multiplied. With ``warmup`` its ramps come
    first and cosine runs over what is left (model zoo ``lr_schedule.py``); steps stay where
    their milestones are (tensorflow/tpu ``learning_rates.py``, mmdetection's configs). All of
    it is scaled linearly where ``batch`` is not the ``base_batch`` (Goyal et al. 2017).
    """
    total = training.epochs * steps_per_epoch
    ramps = [_ramp(ramp, steps_per_epoch) for ramp in training.warmup]
    warmup = np.concatenate([np.zeros(0), *ramps])[:total]
    if training.schedule == "cosine":
        factor = _cosine(total - len(warmup), training.lr_end)
    else:
        factor = _steps(training, steps_per_epoch)[len(warmup) :]
    factor = np.concatenate([warmup, factor])
    rising = min(total, round(training.warmup_epochs * steps_per_epoch))
    if rising:
        slope = WARMUP_START + (1 - WARMUP_START) * np.arange(rising) / rising
        factor[:rising] = np.minimum(factor[:rising], 1.0) * slope
    share = training.batch / (training.base_batch or training.batch)
    rates: NDArray[np.float32] = (training.lr * share * factor).astype(np.float32)
    return rates


def _ramp(ramp: Ramp, steps_per_epoch: int) -> NDArray[np.float64]:
    length = round(ramp.epochs * steps_per_epoch) + ramp.steps
    step = np.arange(length)
    rates: NDArray[np.float64] = (ramp.start * (length - step) + ramp.stop * step) / length
    return rates


def _cosine(length: int, end: float) -> NDArray[np.float64]:
    angle = np.pi * np.arange(length) / length
    factor: NDArray[np.float64] = end + (1 - end) * (0.5 * (1 + np.cos(angle)))
    return factor


def _steps(training: Training, steps_per_epoch: int) -> NDArray[np.float64]:
    total = training.epochs * steps_per_epoch
    if training.milestones is None:
        places = [share * total for share in STEPS]
    else:
        places = [epoch * steps_per_epoch for epoch in training.milestones]
    passed = np.sum([np.arange(total) >= place for place in places], axis=0, dtype=int)
    factor: NDArray[np.float64] = (10.0 ** -np.arange(len(places) + 1))[passed]
    return factor
