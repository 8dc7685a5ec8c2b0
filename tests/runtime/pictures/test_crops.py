"""Crops of stored images: the model zoo's loop, and the two rules of random scaling."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from nasfpn_runtime.pictures.augment import Augment
from nasfpn_runtime.pictures.crops import JITTERS, MIN_IOUS, TRIES, iou_crop, jitter_stored
from nasfpn_runtime.pictures.image import resize

Boxes = NDArray[np.float32]
Labels = NDArray[np.int32]
Image = NDArray[np.uint8]


def coordinates(height: int, width: int) -> Image:
    """Return an image whose pixels contain their coordinates: (column, row, 0)."""
    rows, columns = np.indices((height, width), dtype=np.uint8)
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1)


def scene(rng: np.random.Generator) -> tuple[Image, Boxes, Labels]:
    """Return an image of :func:`coordinates` with one to six random boxes."""
    height, width = rng.integers(20, 200, 2)
    count = rng.integers(1, 7)
    corner = rng.uniform(0, 0.8, (count, 2))
    sides = rng.uniform(0.02, 0.9, (count, 2))
    boxes = np.concatenate([corner, np.minimum(corner + sides, 1)], axis=1)
    boxes *= np.array([width, height] * 2)
    return (
        coordinates(height, width),
        boxes.astype(np.float32),
        np.arange(count, dtype=np.int32),
    )


def one_by_one(height: int, width: int, boxes: Boxes, rng: np.random.Generator) -> Iterator[float]:
    """Yield the four corners of the crop, by a loop as in the source; nothing for no crop."""
    least = MIN_IOUS[rng.integers(6)]
    draws = rng.random((50, 4))
    for w, h, left, top in draws if least is not None else ():
        w, h = (0.3 + 0.7 * w) * width, (0.3 + 0.7 * h) * height
        if h / w < 0.5 or h / w > 2:
            continue
        left, top = left * (width - w), top * (height - h)
        x1, y1, x2, y2 = (int(v) for v in (left, top, left + w, top + h))
        overlaps, good = [], False
        for a, b, c, d in boxes.tolist():
            shared = max(0, min(c, x2) - max(a, x1)) * max(0, min(d, y2) - max(b, y1))
            if shared > 0:
                union = (c - a) * (d - b) + (x2 - x1) * (y2 - y1) - shared
                overlaps.append(shared / union)
                good |= x1 < (a + c) / 2 < x2 and y1 < (b + d) / 2 < y2
        refused = overlaps and min(overlaps) < least and max(overlaps) > least + 0.2
        if good and not refused:
            yield from (x1, y1, x2, y2)
            return


def test_the_crop_is_the_same_as_by_the_loop() -> None:
    cropped = dropped = 0
    for seed in range(300):
        image, boxes, labels = scene(np.random.default_rng((seed, 0)))
        crop, moved, kept = iou_crop(image, boxes, labels, np.random.default_rng(seed))
        expected = list(one_by_one(*image.shape[:2], boxes, np.random.default_rng(seed)))
        x1, y1, x2, y2 = (int(v) for v in expected or (0, 0, image.shape[1], image.shape[0]))
        np.testing.assert_array_equal(crop, image[y1:y2, x1:x2])
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = ((centres > [x1, y1]) & (centres < [x2, y2])).all(axis=1)
        assert kept.tolist() == labels[inside].tolist()
        clipped = np.clip(boxes[inside], [x1, y1] * 2, [x2, y2] * 2) - [x1, y1] * 2
        np.testing.assert_allclose(moved, clipped, atol=1e-4)
        assert len(kept)  # a crop never loses all boxes
        cropped += bool(expected)
        dropped += len(labels) - len(kept)
    # Five of six images are cropped if a crop is found: 250 of 300. Four standard deviations are
    # 26.
    assert 150 < cropped < 276
    assert dropped > 50


def test_a_sixth_of_the_images_is_not_cropped() -> None:
    image = coordinates(40, 40)
    box, label = np.array([[10, 10, 30, 30]], np.float32), np.zeros(1, np.int32)
    rng = np.random.default_rng(0)
    whole = sum(iou_crop(image, box, label, rng)[0].shape == image.shape for _ in range(1200))
    # 200 are expected, with a standard deviation of 12.9: one seed in 2 million is 5 of them off.
    assert abs(whole - 200) < 65


@pytest.mark.parametrize("crowd", [[0, 0, 30, 60], [56, 0, 80, 60]])
def test_crowd_regions_move_along_but_do_not_influence_the_crop(crowd: list[float]) -> None:
    image, boxes = coordinates(60, 80), np.array([[10, 20, 50, 40]], np.float32)
    both, labels = np.concatenate([boxes, [crowd]]).astype(np.float32), np.array([3, -1], np.int32)
    seen = 0
    for seed in range(120):
        alone = iou_crop(image, boxes, labels[:1], np.random.default_rng(seed))
        crop, moved, kept = iou_crop(image, both, labels, np.random.default_rng(seed))
        np.testing.assert_array_equal(crop, alone[0])
        left, top = crop[0, 0, :2].astype(float)
        bounds = [crop.shape[1], crop.shape[0]] * 2
        region = np.clip(np.array(crowd) - [left, top, left, top], 0, bounds)
        if region[0] < region[2] and region[1] < region[3]:
            assert kept.tolist() == [3, -1]
            np.testing.assert_allclose(moved[1], region)
            seen += crop.shape != image.shape
        else:
            assert kept.tolist() == [3]
    assert seen > 10


def test_the_crop_draws_the_same_number_of_values_at_every_call() -> None:
    ends = set()
    for boxes in ([[0, 0, 9, 9]], [[5, 5, 6, 6], [0, 0, 40, 40]]):
        for size in ((10, 10), (40, 400)):
            rng = np.random.default_rng(5)
            array = np.array(boxes, np.float32)
            iou_crop(coordinates(*size), array, np.zeros(len(boxes), np.int32), rng)
            ends.add(rng.random())
    rng = np.random.default_rng(5)
    rng.integers(len(MIN_IOUS)), rng.random((TRIES, 4))
    assert ends == {rng.random()}


def jitter(
    rule: str, shape: tuple[int, int], factor: float, offset: tuple[float, float], up: bool
) -> tuple[Image, Boxes, Labels]:
    boxes = np.array([[0, 0, 10, 10], [30, 20, 40, 30]], np.float32)
    return jitter_stored(
        coordinates(*shape),
        boxes,
        np.arange(2, dtype=np.int32),
        (64, 64),
        factor,
        offset,
        rule=JITTERS[rule],
        fit="letterbox",
        interpolation="bilinear",
        round_up=up,
    )


def test_sizes_by_hand() -> None:
    # TF: round(1.01 * 64 = 64.64) = 65, so 41 x 65 stays 41 x 65 and is cropped to 41 x 64.
    # mmdetection: int(64.64) = 64; 41 * 64 / 65 = 40.37 gives 40.
    assert jitter("tf", (41, 65), 1.01, (0, 0), False)[0].shape == (41, 64, 3)
    assert jitter("mmdet", (41, 65), 1.01, (0, 0), True)[0].shape == (40, 64, 3)
    # 0.5 * 64 = 32, and 45 * 32 / 64 = 22.5 is rounded to the even side or up.
    assert jitter("tf", (45, 64), 0.5, (0, 0), False)[0].shape == (22, 32, 3)
    assert jitter("mmdet", (45, 64), 0.5, (0, 0), True)[0].shape == (23, 32, 3)


def test_a_stored_image_is_scaled_once() -> None:
    crop, _, _ = jitter("tf", (48, 64), 1.5, (0.5, 0.5), False)
    # 72 x 96, of which 8 and 32 px do not fit: half of them are above and to the left.
    whole = resize(coordinates(48, 64), (72, 96), "bilinear")
    np.testing.assert_array_equal(crop, whole[4:68, 16:80])


def test_the_crop_reaches_the_far_end_in_mmdetection_only() -> None:
    # 64 x 64 by 1.5 is 96 x 96: offsets 0 to 32. TF takes int(0.999 * 32) = 31.
    for rule, far in (("tf", 31), ("mmdet", 32)):
        _, boxes, labels = jitter(rule, (64, 64), 1.5, (0.999, 0.999), False)
        assert labels.tolist() == [1]
        np.testing.assert_allclose(boxes, [[45 - far, max(0, 30 - far), 60 - far, 45 - far]])


def test_boxes_without_area_are_dropped_and_slivers_kept() -> None:
    # Scaled by 1.5 the first box ends at 15: a crop from 15 leaves no area, from 14 one pixel.
    for fraction, names in ((15.5 / 32, [1]), (14.5 / 32, [0, 1])):
        _, boxes, labels = jitter("tf", (64, 64), 1.5, (0.0, fraction), False)
        assert labels.tolist() == names
    np.testing.assert_allclose(boxes[0], [0, 0, 1, 15], atol=1e-5)


@pytest.mark.parametrize("jitter", ["fitted", *JITTERS])
def test_draws_do_not_depend_on_the_settings(jitter: str) -> None:
    box, label = np.array([[10, 10, 30, 30]], np.float32), np.zeros(1, np.int32)
    image, plain = coordinates(40, 60), Augment(scale=(0.5, 2.0), jitter=jitter)
    cropped = Augment(scale=(0.5, 2.0), jitter=jitter, colour=0.5, iou_crop=True)
    for seed in range(12):  # seeds without a crop only
        rng = np.random.default_rng(seed)
        rng.random(3), rng.uniform(-1, 1, 3)
        if MIN_IOUS[rng.integers(len(MIN_IOUS))] is not None:
            continue
        outcomes = []
        for augment in (plain, cropped):
            stored, fitted = np.random.default_rng(seed), np.random.default_rng((seed, 1))
            part = image, box, label
            if augment.on_stored:
                part = augment.arrange(*part, stored, (40, 60))
            outcomes.append(augment.apply(*part, fitted, (40, 60))[1].tolist())
        assert outcomes[0] == outcomes[1]
