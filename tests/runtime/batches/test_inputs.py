"""Inputs of the compiled step: parts of a batch, the normaliser, and DropBlock's scalars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from nasfpn_runtime.batches.inputs import Inputs, make_inputs
from nasfpn_runtime.batches.loader import Batch
from nasfpn_runtime.cluster.cards import Cards
from nasfpn_runtime.recipe.recipe import Recipe, load_recipe

STEPS = 10


class OneOfTwo(Cards):
    """One of two cards. The other one has 5 positives more."""

    def __init__(self, rank: int) -> None:
        super().__init__(rank, 2)

    def sum(self, values: Sequence[float]) -> list[float]:
        return [2 * value + 5 for value in values]


def recipe(*settings: str) -> Recipe:
    return load_recipe("shapes", ["loss.normaliser=batch", *settings])


@pytest.fixture
def batch() -> Batch:
    """Four images with 3 anchors each; five anchors are positive."""
    rng = np.random.default_rng(0)
    return Batch(
        rng.integers(0, 256, (4, 3, 2, 2), dtype=np.uint8),
        np.full((4, 2), 2, np.int32),
        np.array([[0, -1, -1], [1, 1, -2], [-1, -1, -1], [2, 0, -1]], np.int32),
        rng.standard_normal((4, 3, 4)).astype(np.float32),
        (1, 2, 3, 4),
    )


def scalars(parts: list[Inputs], name: str) -> list[float]:
    return [getattr(part, name).asnumpy().item() for part in parts]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_parts_are_the_batch_in_order(batch: Batch, count: int) -> None:
    settings = recipe("training.batch=4", f"training.accumulate={count}")
    parts = make_inputs(batch, settings, Cards(), 0, 0, STEPS)
    assert len(parts) == count
    for name in ("images", "sizes", "labels", "deltas"):
        arrays = [getattr(part, name).asnumpy() for part in parts]
        assert {len(array) for array in arrays} == {4 // count}
        joined, expected = np.concatenate(arrays), getattr(batch, name)
        assert joined.dtype == expected.dtype
        np.testing.assert_array_equal(joined, expected)


def test_the_normaliser_is_that_of_all_cards(batch: Batch) -> None:
    settings = recipe("training.batch=4", "training.accumulate=2")
    assert scalars(make_inputs(batch, settings, Cards(), 0, 0, STEPS), "normaliser") == [5, 5]
    two = recipe("training.batch=8", "training.accumulate=2")
    assert scalars(make_inputs(batch, two, OneOfTwo(0), 0, 0, STEPS), "normaliser") == [15, 15]


def test_dropblock_starts_with_keeping_everything(batch: Batch) -> None:
    settings = recipe("training.batch=4", "training.dropblock.keep=0.9")
    keep = [
        scalars(make_inputs(batch, settings, Cards(), 0, step, STEPS), "keep")[0]
        for step in (0, 5, 9)
    ]
    np.testing.assert_allclose(keep, [1, 0.95, 0.91], rtol=1e-6)
    plain = recipe("training.batch=4")
    assert scalars(make_inputs(batch, plain, Cards(), 0, 9, STEPS), "keep") == [1]


def test_every_part_of_every_card_and_step_has_its_own_key(batch: Batch) -> None:
    settings = recipe("training.batch=8", "training.accumulate=2")
    keys = [
        key
        for step in range(STEPS)
        for rank in (0, 1)
        for key in scalars(make_inputs(batch, settings, OneOfTwo(rank), 7, step, STEPS), "key")
    ]
    assert len(set(keys)) == len(keys) == STEPS * 2 * 2
    other = scalars(make_inputs(batch, settings, OneOfTwo(0), 8, 0, STEPS), "key")
    assert not set(other) & set(keys)
