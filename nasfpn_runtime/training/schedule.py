"""The learning rate of every step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.recipe.settings import Ramp, Training

# tensorflow/tpu retinanet_config.py: warm-up from 0.0067 to 0.08, then a tenth at steps 60k and 80k
# of 90k.
WARMUP_START = 1 / 12
MOST_STEPS = 20_000_000  # their rates take about 1 GB
MILESTONE_FRACTIONS = (2 / 3, 8 / 9)


def learning_rates(training: Training, steps_per_epoch: int) -> NDArray[np.float32]:
    """Return the learning rate of each step of the run, (epochs * steps_per_epoch,) float32.

    With ``warmup_epochs`` the schedule covers the whole run, and the rates of the first epochs
    are multiplied by a factor that rises linearly from a twelfth to 1. With ``warmup`` its ramps
    come first, and cosine covers the remaining steps (model zoo ``lr_schedule.py``); milestones
    still count from the first epoch (tensorflow/tpu ``learning_rates.py``, mmdetection's
    configs). If ``batch`` differs from ``base_batch``, all rates are scaled linearly (Goyal et
    al. 2017).

    Raises:
        RecipeError: the run has more than ``MOST_STEPS`` steps.
    """
    total = training.epochs * steps_per_epoch
    if total > MOST_STEPS:
        raise RecipeError(
            f"training.epochs times the steps of an epoch must be at most {MOST_STEPS:,} steps, "
            f"got {training.epochs:,} x {steps_per_epoch:,}"
        )
    ramps = [_ramp(ramp, steps_per_epoch, total) for ramp in training.warmup]
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
    scale = training.batch / (training.base_batch or training.batch)
    rates: NDArray[np.float32] = (training.lr * scale * factor).astype(np.float32)
    return rates


def _ramp(ramp: Ramp, steps_per_epoch: int, most: int) -> NDArray[np.float64]:
    """Return the factor of each step of a linear warm-up, of its first ``most`` steps only."""
    length = round(ramp.epochs * steps_per_epoch) + ramp.steps
    step = np.arange(min(length, most))
    rates: NDArray[np.float64] = (ramp.start * (length - step) + ramp.stop * step) / length
    return rates


def _cosine(length: int, end: float) -> NDArray[np.float64]:
    """Return the factor of each of ``length`` steps, falling from 1 towards ``end``."""
    angle = np.pi * np.arange(length) / length
    factor: NDArray[np.float64] = end + (1 - end) * (0.5 * (1 + np.cos(angle)))
    return factor


def _steps(training: Training, steps_per_epoch: int) -> NDArray[np.float64]:
    """Return the factor of each step of the run: a tenth of the previous after each milestone."""
    total = training.epochs * steps_per_epoch
    if training.milestones is None:
        milestones = [fraction * total for fraction in MILESTONE_FRACTIONS]
    else:
        milestones = [epoch * steps_per_epoch for epoch in training.milestones]
    passed = np.sum([np.arange(total) >= step for step in milestones], axis=0, dtype=int)
    factor: NDArray[np.float64] = (10.0 ** -np.arange(len(milestones) + 1))[passed]
    return factor
