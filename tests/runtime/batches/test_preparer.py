"""One training image: its position, its augmentation, its targets, and its replacement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batch_data import (
    ANCHORS,
    BOX,
    MATCHING,
    NOISE,
    SIZE,
    grey_values,
    make_loader,
    write_grey,
    write_noise,
)
from nasfpn_runtime.batches import preparer
from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.batches.matching import BACKGROUND, IGNORED, match
from nasfpn_runtime.pictures.augment import Augment, horizontal_flip, scale_jitter, vertical_flip
from nasfpn_runtime.pictures.boxes import BoxCode, intersection
from nasfpn_runtime.recipe.recipe import Model
from nasfpn_runtime.recipe.settings import Data

TWO_BOXES = [BOX, {**BOX, "category_id": 9, "bbox": [0, 0, 12, 20]}]


def test_flips_and_scaling_use_the_random_numbers_of_published_results(tmp_path: Path) -> None:
    """The project's own recipes have flips and the scaling of fitted images."""
    split = write_grey(tmp_path, [[] if n in (3, 7, 8) else [BOX] for n in range(14)])
    data = Data(SIZE, "squash", augment=Augment(0.5, 0.5, (0.8, 1.2)))
    loader, fitted = make_loader(split, data, seed=4), Pictures(split, SIZE, data)
    order = np.random.default_rng((4, 2)).permutation([i for i in range(14) if i not in (3, 7, 8)])
    ids = [number - 100 for batch in loader.epoch(2) for number in batch.pictures]
    assert ids == order[:8].tolist()
    flipped = 0
    batch = next(loader.epoch(2))
    for slot, index in enumerate(order[:4].tolist()):
        rng = np.random.default_rng((4, 2, index))
        (right, down), (factor, top, left) = rng.random(2), rng.random(3)
        image, placement = fitted[index]
        boxes = placement.forward(split.samples[index].boxes)
        for flip, drawn in ((horizontal_flip, right), (vertical_flip, down)):
            if drawn < 0.5:
                image, boxes = flip(image, boxes)
                flipped += 1
        image, boxes, labels = scale_jitter(
            image, boxes, split.samples[index].labels, SIZE, 0.8 + 0.4 * factor, (top, left)
        )
        expected_labels, _ = match(ANCHORS, boxes, labels + 1, MATCHING)
        height, width = batch.sizes[slot].tolist()
        assert (height, width) == image.shape[:2]
        expected = np.zeros((3, *SIZE), np.uint8)
        expected[:, :height, :width] = image.transpose(2, 0, 1)
        np.testing.assert_array_equal(batch.images[slot], expected)
        np.testing.assert_array_equal(batch.labels[slot], expected_labels)
    assert 0 < flipped < 8


def test_the_augmentation_of_an_image_depends_on_the_epoch(tmp_path: Path) -> None:
    split = write_grey(tmp_path, [[BOX]] * 11)
    data = Data(SIZE, "squash", augment=Augment(colour=1.0))
    loader = make_loader(split, data, batch=11)
    a, b = (next(loader.epoch(epoch)) for epoch in range(2))
    # Both have all pictures. If they were changed alike, the sorted values would be equal.
    assert not np.array_equal(np.sort(a.images[:, 0, 0, 0]), np.sort(b.images[:, 0, 0, 0]))
    np.testing.assert_array_equal(a.labels, b.labels)  # same box for all; colour moves none


def test_a_picture_lies_at_the_top_left(tmp_path: Path) -> None:
    split = write_grey(tmp_path, [[BOX]] * 11)
    (batch,) = make_loader(split, Data(SIZE, augment=Augment()), batch=11).epoch(0)
    # 32 x 24 letterboxed to 64 x 64 is 64 wide and 48 high.
    assert (batch.sizes == [48, 64]).all()
    for image, grey in zip(batch.images, grey_values(batch), strict=True):
        assert set(image[:, :48].ravel().tolist()) == {grey}
        assert not image[:, 48:].any()


def test_targets_are_those_of_the_fitted_boxes(tmp_path: Path) -> None:
    split = write_grey(tmp_path, [TWO_BOXES])
    (batch,) = make_loader(split, batch=1).epoch(0)
    # From 32 x 24 to 64 x 64, x doubles and y grows by 8/3.
    boxes = np.array([[16, 16, 48, 40], [0, 0, 24, 160 / 3]], np.float32)
    labels, deltas = match(ANCHORS, boxes, np.array([0, 1], np.int32), MATCHING)
    expected = np.where(labels >= 0, labels + 1, labels)  # class 0 is the background
    np.testing.assert_array_equal(batch.labels[0], expected)
    np.testing.assert_allclose(batch.deltas[0], deltas, atol=1e-5)
    assert {BACKGROUND, IGNORED, 1, 2} == set(batch.labels[0].tolist())
    assert (batch.images.shape, batch.images.dtype) == ((1, 3, *SIZE), np.dtype(np.uint8))
    assert (batch.sizes.tolist(), batch.sizes.dtype) == ([list(SIZE)], np.dtype(np.int32))
    assert (batch.labels.dtype, batch.deltas.dtype) == (np.dtype(np.int32), np.dtype(np.float32))


def test_targets_follow_the_recipe(tmp_path: Path) -> None:
    split = write_grey(tmp_path, [TWO_BOXES])
    # In fractions of the sides the IoUs are the same, apart from rounding.
    wide, rule = Data((64, 128), "squash", augment=Augment()), replace(MATCHING, normalised=True)
    (pixels,), (fractions,) = (
        make_loader(split, wide, batch=1, matching=matching).epoch(0)
        for matching in (MATCHING, rule)
    )
    np.testing.assert_array_equal(fractions.labels, pixels.labels)
    np.testing.assert_allclose(fractions.deltas, pixels.deltas, atol=1e-5)
    (plain,) = make_loader(split, batch=1).epoch(0)
    code, model = BoxCode(order="xywh", variances=(0.1, 0.2)), Model(dialect="mmdet")
    (other,) = make_loader(split, batch=1, box_code=code, model=model).epoch(0)
    expected = plain.deltas[..., [1, 0, 3, 2]] / np.array([0.1, 0.1, 0.2, 0.2])
    np.testing.assert_allclose(other.deltas, expected, atol=1e-5)
    # mmdetection has no background class: classes start at 0.
    positive = plain.labels > 0
    np.testing.assert_array_equal(other.labels[positive], plain.labels[positive] - 1)
    np.testing.assert_array_equal(other.labels[~positive], plain.labels[~positive])


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_crowd_regions_are_ignored_at_their_augmented_position(tmp_path: Path, flip: float) -> None:
    crowd = {**BOX, "bbox": [20, 0, 12, 24], "iscrowd": 1}
    split = write_grey(tmp_path, [[{**BOX, "bbox": [1, 6, 10, 9]}, crowd]])
    data = Data(SIZE, "squash", augment=Augment(hflip=flip))
    (batch,) = make_loader(split, data, batch=1).epoch(0)
    region = np.array([[40, 0, 64, 64]] if flip == 0 else [[0, 0, 24, 64]], np.float32)
    sides = ANCHORS[:, 2:] - ANCHORS[:, :2]
    inside = intersection(ANCHORS, region)[:, 0] >= sides.prod(axis=1) / 2
    assert set(batch.labels[0, inside].tolist()) == {IGNORED}
    assert set(batch.labels[0, ~inside].tolist()) >= {BACKGROUND, 1}
    assert not batch.deltas[0, inside].any()


def test_mmdetection_replaces_an_image_that_lost_its_boxes(tmp_path: Path) -> None:
    # Scaled by 4, a picture is 256 x 192, of which a crop of 64 x 64 is kept. About 1 in 4 crops
    # contains the box in the corner, which is 32 px then.
    split = write_noise(tmp_path / "coco", [[0, 0, 5, 5]])
    has_box, ids = {}, {}
    for jitter in ("tf", "mmdet"):
        data = Data(SIZE, augment=Augment(scale=(4, 4), jitter=jitter))
        (batch,) = make_loader(split, data, seed=3, batch=NOISE).epoch(0)
        has_box[jitter], ids[jitter] = (batch.labels > 0).any(axis=1), batch.pictures
    assert not has_box["tf"].all()  # TF trains on them as background
    assert sorted(ids["tf"]) == list(range(100, 100 + NOISE))
    assert has_box["mmdet"].all()
    for before, after, kept in zip(ids["tf"], ids["mmdet"], has_box["tf"], strict=True):
        assert before == after or not kept


@pytest.mark.parametrize("crop", [False, True])
def test_a_background_is_not_replaced(tmp_path: Path, crop: bool) -> None:
    split = write_grey(tmp_path, [[BOX]] * 8 + [[]] * 4)
    augment = Augment(0.5, 0.5, scale=(1, 2), jitter="mmdet", colour=0.0, iou_crop=crop)
    data = Data(SIZE, background=0.5, augment=augment)
    loader = make_loader(split, data, batch=8)
    for epoch in range(3):
        for batch in loader.epoch(epoch):
            greys = np.array(grey_values(batch))
            assert sorted(greys[greys >= 8].tolist()) == [8, 9, 10, 11]
            assert (batch.labels[greys >= 8] == BACKGROUND).all()
            assert (batch.labels[greys < 8] > 0).any(axis=1).all()


def test_the_search_for_a_replacement_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparer, "REPLACEMENTS", 3)
    split = write_noise(tmp_path / "coco", [[4, 3, 20, 12], [0, 0, 9, 9]])
    outside = np.array([[90, 90, 99, 99]], np.float32)  # outside of every crop
    samples = tuple(replace(s, boxes=outside, labels=s.labels[:1]) for s in split.samples)
    data = Data(SIZE, augment=Augment(scale=(1, 1), jitter="mmdet"))
    loader = make_loader(replace(split, samples=samples), data)
    assert not any((batch.labels >= 0).any() for batch in loader.epoch(0))
