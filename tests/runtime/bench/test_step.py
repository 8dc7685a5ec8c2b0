"""``nasfpn bench step`` compares two ways of the same training."""

from __future__ import annotations

import pytest

from nasfpn_runtime.bench.step import VARIANTS, make_step, random_batch


@pytest.mark.slow
def test_both_variants_train_the_same_network_the_same_way() -> None:
    batch = random_batch(128)
    losses = {}
    for variant in VARIANTS:
        step = make_step(variant, 128)
        losses[variant] = [step(batch) for _ in range(3)]
    assert losses["project"] == pytest.approx(losses["documented"], rel=1e-4)
    assert losses["project"][2] != losses["project"][0]
