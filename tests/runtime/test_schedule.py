"""Learning rates by hand, and bounds that hold for every schedule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasfpn_runtime.config import Training
from nasfpn_runtime.schedule import learning_rates


def test_steps_by_hand() -> None:
    # 18 steps: two thirds are 12, eight ninths are 16.
    training = Training(epochs=9, schedule="step", lr=0.08, warmup_epochs=0)
    expected = [0.08] * 12 + [0.008] * 4 + [0.0008] * 2
    np.testing.assert_allclose(learning_rates(training, 2), expected, rtol=1e-6)


def test_cosine_by_hand() -> None:
    # (1 + cos) / 2 at 0, 60, 90 and 120 degrees of 6 steps of 30.
    training = Training(epochs=6, schedule="cosine", lr=0.2, warmup_epochs=0)
    rates = learning_rates(training, 1)
    np.testing.assert_allclose(rates[[0, 2, 3, 4]], [0.2, 0.15, 0.1, 0.05], rtol=1e-6)


def test_warm_up_by_hand() -> None:
    # From 1/12 in 22 steps: each step is 1/24, so that the eleventh is 1/12 + 11/24 = 13/24.
    training = Training(epochs=100, schedule="step", lr=2.4, warmup_epochs=5.5)
    rates = learning_rates(training, 4)
    np.testing.assert_allclose(rates[:3], [0.2, 0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(rates[[11, 21, 22, 23]], [1.3, 2.3, 2.4, 2.4], rtol=1e-6)


def test_the_published_schedule() -> None:
    # tensorflow/tpu retinanet_config.py: 0.0067 to 0.08 in 500 steps, 0.008 from step
    # 60,000, 0.0008 from step 80,000 of 90,000.
    training = Training(epochs=90, schedule="step", lr=0.08, warmup_epochs=0.5)
    rates = learning_rates(training, 1000)
    places = [0, 499, 500, 59_999, 60_000, 79_999, 80_000, 89_999]
    expected = [0.0067, 0.08, 0.08, 0.08, 0.008, 0.008, 0.0008, 0.0008]
    np.testing.assert_allclose(rates[places], expected, rtol=0.01)


@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_a_warm_up_longer_than_the_run_covers_it(schedule: str) -> None:
    rates = learning_rates(Training(epochs=3, schedule=schedule, lr=1.0, warmup_epochs=50), 1)
    assert len(rates) == 3
    assert rates[0] == pytest.approx(1 / 12)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["cosine", "step"]),
    st.floats(1e-6, 10),
    st.floats(0, 60),
)
def test_every_schedule(
    epochs: int, per_epoch: int, schedule: str, lr: float, warmup: float
) -> None:
    training = Training(epochs=epochs, schedule=schedule, lr=lr, warmup_epochs=warmup)
    rates = learning_rates(training, per_epoch)
    assert (rates.shape, rates.dtype) == ((epochs * per_epoch,), np.dtype(np.float32))
    assert np.all(rates > 0)
    assert np.all(rates <= np.float32(lr))
    after = rates[min(len(rates), round(warmup * per_epoch)) :]
    assert np.all(np.diff(after) <= 0)
