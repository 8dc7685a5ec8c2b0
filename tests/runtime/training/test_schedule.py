"""Learning rates computed by hand, and bounds that hold for every schedule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.recipe.settings import Ramp, Training
from nasfpn_runtime.training.schedule import learning_rates


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
    # From 1/12 to 1 in 22 steps: each step adds 1/24, so that step 11 has 1/12 + 11/24 = 13/24.
    training = Training(epochs=100, schedule="step", lr=2.4, warmup_epochs=5.5)
    rates = learning_rates(training, 4)
    np.testing.assert_allclose(rates[:3], [0.2, 0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(rates[[11, 21, 22, 23]], [1.3, 2.3, 2.4, 2.4], rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["tf-r50-7x256-640", "mmdet-r50-7x256-640", "modelzoo-r50-7x256-640"]
)
@pytest.mark.parametrize("factor", [1 / 64, 1, 4])
def test_rates_are_proportional_to_the_batch(name: str, factor: float) -> None:
    training = load_recipe(name).training
    assert training.batch == training.base_batch
    scaled = replace(training, batch=int(training.batch * factor))
    expected = learning_rates(training, 10) * np.float32(factor)
    np.testing.assert_allclose(learning_rates(scaled, 10), expected, rtol=1e-6)
    unscaled = replace(scaled, base_batch=None)
    np.testing.assert_array_equal(learning_rates(unscaled, 10), learning_rates(training, 10))


def test_ramps_by_hand() -> None:
    # A ramp of two epochs (4 steps) and one of 2 steps, then cosine over the remaining 4 of 10
    # steps, from 2 down to a quarter of it: 2 * (1/4 + 3/4 * (1, 0.853553, 1/2, 0.146447)).
    training = Training(
        epochs=5,
        schedule="cosine",
        lr=2.0,
        lr_end=0.25,
        warmup_epochs=0,
        warmup=(Ramp(0.0, 0.5, epochs=2), Ramp(0.25, 1.0, steps=2)),
    )
    expected = [0, 0.25, 0.5, 0.75, 0.5, 1.25, 2, 1.780330, 1.25, 0.719670]
    np.testing.assert_allclose(learning_rates(training, 2), expected, rtol=1e-6)


def test_milestones_by_hand() -> None:
    training = Training(epochs=5, lr=1.0, milestones=(2, 3, 4.5), warmup_epochs=0)
    expected = [1] * 4 + [0.1] * 2 + [0.01] * 3 + [0.001]
    np.testing.assert_allclose(learning_rates(training, 2), expected, rtol=1e-6)


def test_tf_rates_are_the_published_ones() -> None:
    # tensorflow/tpu retinanet_nasfpn.yaml: from 0.0067 to 0.08 in 500 steps, 0.008 from step
    # 60,000, 0.0008 from step 80,000 of 90,000, which is two thirds and eight ninths.
    training = replace(load_recipe("tf-r50-7x256-640").training, epochs=90)
    rates = learning_rates(training, 1000)
    expected = np.repeat([0.08, 0.008, 0.0008], [60_000, 20_000, 10_000])
    expected[:500] = 0.0067 + np.arange(500) / 500 * (0.08 - 0.0067)
    np.testing.assert_allclose(rates, expected, rtol=1e-7)


def test_mmdet_rates_are_the_published_ones() -> None:
    # LinearLR multiplies, step by step (mmengine param_scheduler.py): over 999 steps the rate
    # rises from a tenth to the full rate; MultiStepLR divides by ten after epochs 30 and 40.
    rates = learning_rates(load_recipe("mmdet-r50-7x256-640").training, 100)
    expected = np.repeat([0.08, 0.008, 0.0008], [3000, 1000, 1000])
    rate = 0.08 * 0.1
    for step in range(999):
        expected[step] = rate
        rate *= 1 + 0.9 / (999 * 0.1 + step * 0.9)
    np.testing.assert_allclose(rates, expected, rtol=3e-7)


def test_modelzoo_rates_are_the_published_ones() -> None:
    # lr_schedule.py: phases of 2, 5, 23, 60 and 160 epochs, all but the first up to ten times
    # their start, then cosine from 0.1 to 5e-4 over the last 50.
    per_epoch = 7
    rates = learning_rates(load_recipe("modelzoo-r50-7x256-640").training, per_epoch)
    ends = np.cumsum([0, 2, 5, 23, 60, 160]) * per_epoch
    targets = [(1e-6, 1e-5 / 3), (1e-5, 1e-4), (1e-4, 1e-3), (1e-3, 1e-2), (1e-2, 0.1)]
    expected = np.empty(300 * per_epoch)
    for (start, stop), low, high in zip(targets, ends[:-1], ends[1:], strict=True):
        fraction = (np.arange(low, high) - low) / (high - low)
        expected[low:high] = start + (stop - start) * fraction
    angle = np.pi * np.arange(50 * per_epoch) / (50 * per_epoch)
    expected[ends[-1] :] = 5e-4 + (0.1 - 5e-4) * (1 + np.cos(angle)) / 2
    np.testing.assert_allclose(rates, expected, rtol=1e-7)


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


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from(["cosine", "step"]))
def test_ramps_longer_than_the_run_cover_it(epochs: int, per_epoch: int, schedule: str) -> None:
    ramp = Ramp(0.5, 1.0, epochs=4, steps=3)
    training = Training(epochs=epochs, schedule=schedule, lr=1.0, warmup_epochs=0, warmup=(ramp,))
    rates = learning_rates(training, per_epoch)
    assert rates.shape == (epochs * per_epoch,)
    length = 4 * per_epoch + 3
    covered = min(len(rates), length)
    np.testing.assert_allclose(rates[:covered], 0.5 + 0.5 * np.arange(covered) / length, rtol=1e-6)
