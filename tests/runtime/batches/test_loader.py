"""Training batches: which pictures, in which order, with which targets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasfpn_runtime.batches import cache as pictures
from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.batches.loader import Batch, TrainLoader
from nasfpn_runtime.batches.matching import BACKGROUND, IGNORED, match
from nasfpn_runtime.data.dataset import Split, load_split
from nasfpn_runtime.pictures.anchors import anchor_grid
from nasfpn_runtime.pictures.augment import Augment, horizontal_flip, scale_jitter, vertical_flip
from nasfpn_runtime.pictures.boxes import BoxCode, intersection
from nasfpn_runtime.pictures.image import (
    INTERPOLATIONS,
    Pixels,
    read_image,
    resize,
)
from nasfpn_runtime.recipe.recipe import Model, Recipe
from nasfpn_runtime.recipe.settings import Anchors, Data, Matching, Training

SIZE = (64, 64)
LEVELS = (3, 4)
ANCHORS = anchor_grid(LEVELS, SIZE, scale=2.0, octaves=1)
MATCHING = Matching(0.5, 0.4)
PLAIN = Data(SIZE, "squash", augment=Augment())
BOX = {"category_id": 5, "bbox": [8, 6, 16, 9], "area": 144, "iscrowd": 0}


def write(folder: Path, annotations: Sequence[Sequence[dict[str, Any]]]) -> Split:
    """Write pictures of 32 x 24 whose grey value is their place, with these annotations."""
    (folder / "annotations").mkdir()
    (folder / "train2017").mkdir()
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for number, own in enumerate(annotations):
        name = f"{number}.png"
        Image.new("RGB", (32, 24), (number, number, number)).save(folder / "train2017" / name)
        images.append({"id": 100 + number, "file_name": name, "width": 32, "height": 24})
        for box in own:
            boxes.append({**box, "id": len(boxes), "image_id": 100 + number})
    categories = [{"id": 5, "name": "cat"}, {"id": 9, "name": "dog"}]
    data = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(data))
    return load_split(folder)


def make(
    split: Split,
    data: Data = PLAIN,
    batch: int = 4,
    seed: int = 0,
    **sections: Any,
) -> TrainLoader:
    anchors, training = Anchors(scale=2.0, octaves=1), Training(batch=batch)
    settings = {"matching": MATCHING, **sections}
    recipe = Recipe("test", anchors=anchors, data=data, training=training, **settings)
    return TrainLoader(split, recipe, LEVELS, seed)


def places(batch: Batch) -> list[int]:
    """Return which pictures a batch has, by their grey value."""
    return [int(value) for value in batch.images[:, 0, 0, 0]]


def order(loader: TrainLoader, epoch: int) -> list[int]:
    return [place for batch in loader.epoch(epoch) for place in places(batch)]


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Fourteen pictures; 3, 7 and 8 have no boxes."""
    return write(tmp_path, [[] if number in (3, 7, 8) else [BOX] for number in range(14)])


def test_an_epoch_has_every_picture_with_boxes_once_but_for_the_tail(split: Split) -> None:
    with_boxes = set(range(14)) - {3, 7, 8}
    seen: set[int] = set()
    for epoch in range(30):
        found = order(make(split), epoch)
        assert len(found) == len(set(found)) == 8  # two batches of four; three of 11 are left
        assert set(found) <= with_boxes
        seen |= set(found)
    # Another tail each time: one misses all 30 for 11 * (3/11)^30 of all seeds, 1e-16.
    assert seen == with_boxes
    assert len(make(split)) == 2


def test_seed_and_epoch_decide_everything(split: Split) -> None:
    varied = Data(SIZE, augment=Augment(0.5, 0.5, (0.5, 1.5), 0.5))
    first = list(make(split, varied, seed=1).epoch(3))
    used = make(split, varied, seed=1)
    list(used.epoch(0))  # what was read before does not matter
    for a, b in zip(first, used.epoch(3), strict=True):
        for name in ("images", "sizes", "labels", "deltas"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    orders = {
        (seed, epoch): tuple(order(make(split, seed=seed), epoch))
        for seed in range(3)
        for epoch in range(3)
    }
    # 11! / 3! orders: two of nine agree for 36 / 6.6e6 of all seeds.
    assert len(set(orders.values())) == len(orders)


def test_a_batch_names_its_pictures(split: Split) -> None:
    for batch in make(split).epoch(0):
        assert batch.pictures == tuple(100 + place for place in places(batch))


def test_what_published_figures_were_drawn_with_stays(split: Split) -> None:
    """Recipes of this project have flips and the scaling of fitted pictures."""
    augment = Augment(0.5, 0.5, (0.8, 1.2))
    data = Data(SIZE, "squash", augment=augment)
    used, fitted = make(split, data, seed=4), Pictures(split, SIZE, data)
    order = np.random.default_rng((4, 2)).permutation([i for i in range(14) if i not in (3, 7, 8)])
    assert [n - 100 for batch in used.epoch(2) for n in batch.pictures] == order[:8].tolist()
    flipped = 0
    batch = next(used.epoch(2))
    for slot, place in enumerate(order[:4].tolist()):
        rng = np.random.default_rng((4, 2, place))
        (right, down), (factor, top, left) = rng.random(2), rng.random(3)
        image, placement = fitted[place]
        boxes = placement.forward(split.samples[place].boxes)
        for flip, share in ((horizontal_flip, right), (vertical_flip, down)):
            if share < 0.5:
                image, boxes = flip(image, boxes)
                flipped += 1
        image, boxes, labels = scale_jitter(
            image, boxes, split.samples[place].labels, SIZE, 0.8 + 0.4 * factor, (top, left)
        )
        found, _ = match(ANCHORS, boxes, labels + 1, MATCHING)
        height, width = batch.sizes[slot].tolist()
        assert (height, width) == image.shape[:2]
        expected = np.zeros((3, *SIZE), np.uint8)
        expected[:, :height, :width] = image.transpose(2, 0, 1)
        np.testing.assert_array_equal(batch.images[slot], expected)
        np.testing.assert_array_equal(batch.labels[slot], found)
    assert 0 < flipped < 8


def test_a_pictures_changes_depend_on_the_epoch(split: Split) -> None:
    loader = make(split, Data(SIZE, "squash", augment=Augment(colour=1.0)), batch=11)
    a, b = (next(loader.epoch(epoch)) for epoch in range(2))
    # Both have all pictures: sorted, they would agree if the changes did.
    assert not np.array_equal(np.sort(a.images[:, 0, 0, 0]), np.sort(b.images[:, 0, 0, 0]))
    np.testing.assert_array_equal(a.labels, b.labels)  # one box for all; colour moves none


def test_a_picture_lies_at_the_top_left(split: Split) -> None:
    (batch,) = make(split, Data(SIZE, augment=Augment()), batch=11).epoch(0)
    # 32 x 24 letterboxed to 64 x 64 is 64 wide and 48 high.
    assert (batch.sizes == [48, 64]).all()
    for image, place in zip(batch.images, places(batch), strict=True):
        assert set(image[:, :48].ravel().tolist()) == {place}
        assert not image[:, 48:].any()


@pytest.mark.parametrize("batch", [11, 12, 25])
def test_a_batch_of_all_pictures_or_more(split: Split, batch: int) -> None:
    loader = make(split, batch=batch)
    (only,) = loader.epoch(0)
    assert len(loader) == 1
    counts = np.bincount(places(only), minlength=14)
    assert set(np.delete(counts, [3, 7, 8]).tolist()) <= {batch // 11, -(-batch // 11)}
    assert counts.sum() == batch


def test_targets_are_those_of_the_fitted_boxes(tmp_path: Path) -> None:
    split = write(tmp_path, [[BOX, {**BOX, "category_id": 9, "bbox": [0, 0, 12, 20]}]])
    (batch,) = make(split, batch=1).epoch(0)
    # 32 x 24 to 64 x 64: x doubles, y grows by 8/3.
    boxes = np.array([[16, 16, 48, 40], [0, 0, 24, 160 / 3]], np.float32)
    labels, deltas = match(ANCHORS, boxes, np.array([0, 1], np.int32), MATCHING)
    expected = np.where(labels >= 0, labels + 1, labels)  # class 0 is the background's
    np.testing.assert_array_equal(batch.labels[0], expected)
    np.testing.assert_allclose(batch.deltas[0], deltas, atol=1e-5)
    assert {BACKGROUND, IGNORED, 1, 2} == set(batch.labels[0].tolist())
    assert (batch.images.shape, batch.images.dtype) == ((1, 3, *SIZE), np.dtype(np.uint8))
    assert (batch.sizes.tolist(), batch.sizes.dtype) == ([list(SIZE)], np.dtype(np.int32))
    assert (batch.labels.dtype, batch.deltas.dtype) == (np.dtype(np.int32), np.dtype(np.float32))


def test_targets_follow_the_recipe(tmp_path: Path) -> None:
    split = write(tmp_path, [[BOX, {**BOX, "category_id": 9, "bbox": [0, 0, 12, 20]}]])
    # In shares of the sides the overlaps are the same but for rounding.
    wide, rule = Data((64, 128), "squash", augment=Augment()), replace(MATCHING, normalised=True)
    (pixels,), (shares,) = (
        make(split, wide, batch=1, matching=matching).epoch(0) for matching in (MATCHING, rule)
    )
    np.testing.assert_array_equal(shares.labels, pixels.labels)
    np.testing.assert_allclose(shares.deltas, pixels.deltas, atol=1e-5)
    (plain,) = make(split, batch=1).epoch(0)
    code, model = BoxCode(order="xywh", variances=(0.1, 0.2)), Model(dialect="mmdet")
    (other,) = make(split, batch=1, box_code=code, model=model).epoch(0)
    expected = plain.deltas[..., [1, 0, 3, 2]] / np.array([0.1, 0.1, 0.2, 0.2])
    np.testing.assert_allclose(other.deltas, expected, atol=1e-5)
    # mmdetection has no logit for the background: classes begin at 0.
    found = plain.labels > 0
    np.testing.assert_array_equal(other.labels[found], plain.labels[found] - 1)
    np.testing.assert_array_equal(other.labels[~found], plain.labels[~found])


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_crowds_are_ignored_where_the_picture_shows_them(tmp_path: Path, flip: float) -> None:
    crowd = {**BOX, "bbox": [20, 0, 12, 24], "iscrowd": 1}
    split = write(tmp_path, [[{**BOX, "bbox": [1, 6, 10, 9]}, crowd]])
    (batch,) = make(split, Data(SIZE, "squash", augment=Augment(hflip=flip)), batch=1).epoch(0)
    region = np.array([[40, 0, 64, 64]] if flip == 0 else [[0, 0, 24, 64]], np.float32)
    sides = ANCHORS[:, 2:] - ANCHORS[:, :2]
    inside = intersection(ANCHORS, region)[:, 0] >= sides.prod(axis=1) / 2
    assert set(batch.labels[0, inside].tolist()) == {IGNORED}
    assert set(batch.labels[0, ~inside].tolist()) >= {BACKGROUND, 1}
    assert not batch.deltas[0, inside].any()


def test_pictures_are_read_once_while_they_fit_in_memory(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def record(path: Path) -> Pixels:
        read.append(path.stem)
        return read_image(path)

    monkeypatch.setattr(pictures, "read_image", record)
    kept = Pictures(split, SIZE, PLAIN, cache_bytes=2 * 64 * 64 * 3)  # two pictures
    for _ in range(2):
        for number in range(3):
            assert kept[number][0][0, 0, 0] == number
    assert read == ["0", "1", "2", "2"]
    # Stored ones are smaller, 32 x 24 x 3.
    read.clear()
    kept = Pictures(split, SIZE, PLAIN, cache_bytes=32 * 24 * 3)
    for _ in range(2):
        for number in range(2):
            assert kept.stored(number).shape == (24, 32, 3)
            assert kept.stored(number)[0, 0, 0] == number
    assert read == ["0", "1", "1", "1", "1"]


def test_a_picture_is_padded_to_the_input_or_to_the_least_multiple(split: Split) -> None:
    # 32 x 24 letterboxed to 64 x 64 is 64 wide and 48 high.
    whole, least = (Pictures(split, SIZE, Data(SIZE, pad=pad)) for pad in ("image", "picture"))
    assert whole.frame(0, 16) == SIZE
    assert [least.frame(0, stride) for stride in (16, 32)] == [(48, 64), (64, 64)]
    picture, placement = least[0]
    assert picture.shape[:2] == (placement.height, placement.width) == (48, 64)


def test_pictures_are_scaled_as_the_recipe_says(split: Split) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(split.samples[0].path)
    size = (16, 16)
    found = {
        name: Pictures(split, size, Data(size, "squash", name))[0][0] for name in INTERPOLATIONS
    }
    for name, picture in found.items():
        np.testing.assert_array_equal(picture, resize(noise, size, name))
    assert not np.array_equal(*found.values())
