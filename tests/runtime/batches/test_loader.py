"""Training batches: which images, in which order, divided between how many cards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_data import (
    ARRAYS,
    BOX,
    NOISE,
    SIZE,
    assert_batches_equal,
    grey_values,
    make_loader,
    write_grey,
    write_noise,
)
from nasfpn_runtime.batches.loader import PREFETCH, Batch, TrainLoader, check_shares
from nasfpn_runtime.batches.matching import BACKGROUND
from nasfpn_runtime.data import samples
from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.errors import DataError, RecipeError
from nasfpn_runtime.pictures.augment import Augment
from nasfpn_runtime.pictures.image import Pixels, read_image
from nasfpn_runtime.recipe.settings import Data, Training

VARIED = Data(SIZE, augment=Augment(0.5, 0.5, (0.5, 1.5), 0.5))


def order(loader: TrainLoader, epoch: int) -> list[int]:
    return [grey for batch in loader.epoch(epoch) for grey in grey_values(batch)]


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Fourteen pictures, of which 3, 7 and 8 have no boxes."""
    return write_grey(tmp_path, [[] if n in (3, 7, 8) else [BOX] for n in range(14)])


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Split:
    boxes = [[4, 3, 20, 12], [0, 0, 9, 9]]
    return write_noise(tmp_path_factory.mktemp("data") / "coco", boxes)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_epoch_has_the_batches_that_are_left(noise: Split, workers: int) -> None:
    loader = make_loader(noise, VARIED, batch=1, workers=workers)
    batches = [batch.images.copy() for batch in loader.epoch(3)]
    for skipped in range(len(batches) + 1):
        left = [batch.images.copy() for batch in loader.epoch(3, skipped)]
        assert len(left) == len(batches) - skipped
        for actual, expected in zip(left, batches[skipped:], strict=True):
            np.testing.assert_array_equal(actual, expected)
    loader.close()


def test_an_epoch_has_every_image_with_boxes_once_except_for_the_tail(split: Split) -> None:
    with_boxes = set(range(14)) - {3, 7, 8}
    seen: set[int] = set()
    for epoch in range(30):
        indices = order(make_loader(split), epoch)
        assert len(indices) == len(set(indices)) == 8  # two batches of four; 3 of 11 are dropped
        assert set(indices) <= with_boxes
        seen |= set(indices)
    # The tail varies. An image is in the tail of all 30 epochs for 11 * (3/11)^30 of all seeds,
    # 1e-16.
    assert seen == with_boxes
    assert len(make_loader(split)) == 2


def test_seed_and_epoch_decide_everything(split: Split) -> None:
    first = list(make_loader(split, VARIED, seed=1).epoch(3))
    loader = make_loader(split, VARIED, seed=1)
    list(loader.epoch(0))  # earlier epochs have no influence
    assert_batches_equal(list(loader.epoch(3)), first)
    orders = {
        (seed, epoch): tuple(order(make_loader(split, seed=seed), epoch))
        for seed in range(3)
        for epoch in range(3)
    }
    # There are 11! / 3! orders: two of nine are equal for 36 / 6.6e6 of all seeds.
    assert len(set(orders.values())) == len(orders)


def test_a_batch_has_the_ids_of_its_images(split: Split) -> None:
    for batch in make_loader(split).epoch(0):
        assert batch.pictures == tuple(100 + grey for grey in grey_values(batch))


@pytest.mark.parametrize("batch", [11, 12, 25])
def test_a_batch_as_large_as_the_split_or_larger(split: Split, batch: int) -> None:
    loader = make_loader(split, batch=batch)
    (only,) = loader.epoch(0)
    assert len(loader) == 1
    counts = np.bincount(grey_values(only), minlength=14)
    assert set(np.delete(counts, [3, 7, 8]).tolist()) <= {batch // 11, -(-batch // 11)}
    assert counts.sum() == batch


CROWD = {**BOX, "iscrowd": 1}


@pytest.fixture
def mixed(tmp_path: Path) -> Split:
    """Twenty pictures: 0 to 2 have no boxes, 3 and 4 only a crowd region."""
    return write_grey(tmp_path, [[]] * 3 + [[CROWD]] * 2 + [[BOX]] * 15)


def with_background(share: float, **settings: Any) -> Data:
    return Data(SIZE, "squash", background=share, augment=Augment(**settings))


@pytest.mark.parametrize(
    ("batch", "share", "negatives", "batches"),
    # The 15 images with boxes decide the number of batches: 15 // (batch - negatives).
    [(4, 0.25, 1, 5), (4, 0.5, 2, 7), (5, 0.8, 4, 15), (8, 0.3, 2, 2), (20, 0.05, 1, 1)],
)
def test_each_batch_has_its_share_of_images_without_boxes(
    mixed: Split, batch: int, share: float, negatives: int, batches: int
) -> None:
    loader = make_loader(mixed, with_background(share), batch=batch)
    assert len(loader) == batches
    empty, with_boxes = [], []
    for part in loader.epoch(1):
        greys = grey_values(part)
        chosen = [grey for grey in greys if grey < 3]
        assert len(chosen) == negatives
        assert not {3, 4} & set(greys)  # crowd regions are no background
        for grey, labels in zip(greys, part.labels, strict=True):
            assert (labels == BACKGROUND).all() == (grey < 3)
        empty += chosen
        with_boxes += [grey for grey in greys if grey >= 5]
    assert len(empty) == negatives * batches
    assert empty == (empty[:3] * len(empty))[: len(empty)]  # a permutation, repeated
    assert len(set(empty[:3])) == min(3, len(empty))
    repeats = np.bincount(with_boxes, minlength=20)[5:]
    assert repeats.max() <= max(1, -(-batch // 15))


def test_images_with_boxes_come_in_the_same_order_with_and_without_backgrounds(
    mixed: Split,
) -> None:
    plain = order(make_loader(mixed, batch=3), 2)
    more = order(make_loader(mixed, with_background(0.25), batch=4), 2)
    assert [grey for grey in more if grey >= 5] == plain
    assert [batch.pictures for batch in make_loader(mixed, with_background(0.0)).epoch(2)] == [
        batch.pictures for batch in make_loader(mixed).epoch(2)
    ]


def test_backgrounds_are_shuffled_by_seed_and_epoch(tmp_path: Path) -> None:
    split = write_grey(tmp_path, [[]] * 20 + [[BOX]] * 20)
    data = with_background(0.5)
    orders = {
        tuple(grey for grey in order(make_loader(split, data, seed=seed), epoch) if grey < 20)
        for seed in range(3)
        for epoch in range(3)
    }
    # There are 20! orders of the backgrounds: two of nine are equal for 36 / 20! of all seeds.
    assert len(orders) == 9
    for found in orders:
        assert sorted(found) == list(range(20))


@pytest.mark.parametrize(("cards", "accumulate"), [(1, 4), (2, 2), (4, 1), (2, 1)])
def test_every_part_of_a_batch_has_its_share_of_backgrounds(
    mixed: Split, cards: int, accumulate: int
) -> None:
    data = with_background(0.5, hflip=0.5)
    whole = list(make_loader(mixed, data, batch=8).epoch(0))
    shards = []
    for rank in range(cards):
        settings: dict[str, Any] = {"accumulate": accumulate, "shard": (rank, cards)}
        with make_loader(mixed, data, batch=8, workers=rank % 2, **settings) as loader:
            shards.append(list(loader.epoch(0)))
    for number, batch in enumerate(whole):
        parts = [shard[number] for shard in shards]
        assert sum((part.pictures for part in parts), ()) == batch.pictures
        for part in parts:
            for greys in np.array_split(grey_values(part), accumulate):
                assert (greys < 3).sum() == len(greys) // 2


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_epoch_has_the_backgrounds_that_are_left(mixed: Split, workers: int) -> None:
    with make_loader(mixed, with_background(0.5, hflip=0.5), workers=workers) as loader:
        whole = [batch.images.copy() for batch in loader.epoch(3)]
        for skipped in range(len(whole) + 1):
            left = [batch.images.copy() for batch in loader.epoch(3, skipped)]
            np.testing.assert_array_equal(left, whole[skipped:])


def test_a_split_without_backgrounds_is_refused(tmp_path: Path) -> None:
    split = write_grey(tmp_path, [[BOX], [CROWD], [BOX, CROWD]])
    with pytest.raises(DataError, match=r"data\.background .*got 0\.25 .*train2017\.json"):
        make_loader(split, with_background(0.25))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shards_are_contiguous_parts_of_a_batch(noise: Split, count: int) -> None:
    complete = list(make_loader(noise, VARIED, batch=8).epoch(1))
    shards = []
    for rank in range(count):
        shard = (rank, count)
        with make_loader(noise, VARIED, batch=8, shard=shard, workers=rank % 2) as loader:
            shards.append(list(loader.epoch(1)))
    joined = [
        Batch(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS),
            sum((part.pictures for part in parts), ()),
        )
        for parts in zip(*shards, strict=True)
    ]
    assert_batches_equal(joined, complete)
    assert {len(batch.pictures) for shard in shards for batch in shard} == {8 // count}
    ids = [number for batch in complete for number in batch.pictures]
    assert len(ids) == len(set(ids)) == NOISE // 8 * 8


def test_a_batch_that_cannot_be_divided_evenly_is_refused(noise: Split) -> None:
    with pytest.raises(RecipeError, match=r"training\.batch.* got 6 for 4 times 1"):
        make_loader(noise, batch=6, shard=(0, 4))
    with pytest.raises(RecipeError, match=r"training\.batch.* got 6 for 2 times 2"):
        make_loader(noise, batch=6, accumulate=2, shard=(1, 2))


@pytest.mark.parametrize(("batch", "accumulate", "cards"), [(8, 1, 8), (8, 2, 4), (6, 3, 1)])
def test_a_batch_that_can_be_divided_evenly_is_accepted(
    batch: int, accumulate: int, cards: int
) -> None:
    check_shares(Training(batch=batch, accumulate=accumulate), cards)


def test_few_batches_are_prefetched(noise: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def record(path: Path, **options: bool) -> Pixels:
        read.append(path)
        return read_image(path, **options)

    monkeypatch.setattr(samples, "read_image", record)
    with make_loader(noise, batch=2, workers=1, cache_bytes=0) as loader:
        batches = loader.epoch(0)
        for number in (1, 2):
            next(batches)
            time.sleep(0.3)  # time for a thread that prefetches too much; cannot fail the test
            assert len(read) <= 2 * (number + PREFETCH)
        batches.close()
