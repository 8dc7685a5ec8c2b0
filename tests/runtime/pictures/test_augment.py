"""Augmentation: boxes stay on the rectangles they mark; colours follow their formula."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mindspore.dataset import vision
from numpy.typing import NDArray

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.pictures.augment import (
    Augment,
    colour_jitter,
    horizontal_flip,
    scale_jitter,
    vertical_flip,
)

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]
Labels = NDArray[np.int32]

SIZE = (96, 128)
COLOURS = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], dtype=np.uint8)
BOXES = np.array([[10, 20, 50, 60], [70, 8, 110, 30], [80, 50, 120, 90]], dtype=np.float32)
LABELS = np.arange(3, dtype=np.int32)


def marked() -> Image:
    """Return a black image in which box i is filled with colour i."""
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    for colour, (x1, y1, x2, y2) in zip(COLOURS, BOXES.astype(int), strict=True):
        image[y1:y2, x1:x2] = colour
    return image


def seen(image: Image) -> dict[int, list[int]]:
    """Return the extent, xyxy px, of each colour that is still in the image."""
    extents = {}
    for number in range(3):
        rows, columns = np.nonzero(image[:, :, number] > 125)
        if len(rows):
            extents[number] = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return extents


def assert_together(image: Image, boxes: Boxes, labels: Labels) -> None:
    """Check that each box is around the colour of its label."""
    extents = seen(image)
    assert boxes.dtype == np.float32
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [image.shape[1], image.shape[0]]).all()
    for box, label in zip(boxes, labels.tolist(), strict=True):
        if (box[2:] - box[:2]).min() > 2:  # the colour of a thinner one may have faded at the edge
            # Half a pixel for rounding and half a stored one, scaled by up to 2, for the threshold.
            np.testing.assert_allclose(box, extents[label], atol=1.5)
    for number in set(extents) - set(labels.tolist()):  # only slivers are dropped
        x1, y1, x2, y2 = extents[number]
        assert min(x2 - x1, y2 - y1) <= 2


def test_flips_move_boxes_with_the_image() -> None:
    for flip in (horizontal_flip, vertical_flip):
        image, boxes = flip(marked(), BOXES)
        assert seen(image) == {i: box.astype(int).tolist() for i, box in enumerate(boxes)}
        again, back = flip(image, boxes)
        np.testing.assert_array_equal(again, marked())
        np.testing.assert_array_equal(back, BOXES)


def test_flips_by_hand() -> None:
    # Width 128: 128 - 50 and 128 - 10. Height 96: 96 - 60 and 96 - 20.
    assert horizontal_flip(marked(), BOXES)[1][0].tolist() == [78, 20, 118, 60]
    assert vertical_flip(marked(), BOXES)[1][0].tolist() == [10, 36, 50, 76]


@given(st.floats(0.4, 2.5), st.floats(0, 1), st.floats(0, 1))
def test_scaling_moves_boxes_with_the_image(factor: float, down: float, right: float) -> None:
    image, boxes, labels = scale_jitter(marked(), BOXES, LABELS, SIZE, factor, (down, right))
    assert image.shape[:2] == tuple(min(side, round(side * factor)) for side in SIZE)
    assert_together(image, boxes, labels)


def test_scaling_by_one_changes_nothing() -> None:
    image, boxes, labels = scale_jitter(marked(), BOXES, LABELS, SIZE, 1.0, (0.7, 0.3))
    np.testing.assert_array_equal(image, marked())
    np.testing.assert_array_equal(boxes, BOXES)
    np.testing.assert_array_equal(labels, LABELS)


def test_the_offset_reaches_both_ends() -> None:
    # Scaled by 2 to 192 x 256, 96 rows and 128 columns do not fit.
    boxes = np.array([[40, 30, 60, 45], [70, 50, 100, 90]], dtype=np.float32)
    _, near, first = scale_jitter(marked(), boxes, LABELS[:2], SIZE, 2.0, (0, 0))
    _, far, second = scale_jitter(marked(), boxes, LABELS[:2], SIZE, 2.0, (1, 1))
    assert (near.tolist(), first.tolist()) == ([[80, 60, 120, 90]], [0])
    assert (far.tolist(), second.tolist()) == ([[140 - 128, 100 - 96, 200 - 128, 180 - 96]], [1])


def test_slivers_are_dropped_with_their_labels() -> None:
    # Scaled by 2 and cropped to the left 128 columns, 64 of the original. The box from x = 10
    # stays, the one from 70 is outside. The box from 63.6 keeps 0.8 px, the one from 63 keeps 2.
    boxes = np.array([[70, 8, 110, 30], [63.6, 8, 80, 30], [10, 8, 50, 30], [63, 8, 80, 30]])
    labels = np.array([5, 6, 7, 8], dtype=np.int32)
    _, kept, names = scale_jitter(marked(), boxes.astype(np.float32), labels, SIZE, 2.0, (0, 0))
    assert names.tolist() == [7, 8]
    np.testing.assert_allclose(kept, [[20, 16, 100, 60], [126, 16, 128, 60]], atol=1e-4)


def noise() -> Image:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@given(st.floats(0, 2), st.floats(0, 2), st.floats(0, 2))
def test_colours_follow_the_formula(brightness: float, contrast: float, saturation: float) -> None:
    luma = np.array([0.299, 0.587, 0.114])
    pixels = noise().astype(float) * brightness
    mean = (pixels @ luma).mean()
    pixels = mean + contrast * (pixels - mean)
    grey = (pixels @ luma)[:, :, None]
    expected = (grey + saturation * (pixels - grey)).clip(0, 255)
    changed = colour_jitter(noise(), brightness, contrast, saturation)
    assert changed.dtype == np.uint8
    np.testing.assert_allclose(changed, expected, atol=0.51)  # 0.5 for rounding


def test_colours_are_those_of_the_model_zoo_up_to_rounding() -> None:
    """Compare with the three steps of RandomColorAdjust, in any order, without clipping."""
    picture = (90 + noise() // 4).astype(np.uint8)  # 90 to 153, far from both ends
    factors = 1.2, 0.7, 1.3
    adjust = vision.AdjustBrightness, vision.AdjustContrast, vision.AdjustSaturation
    expected = colour_jitter(picture, *factors).astype(int)
    for order in itertools.permutations(range(3)):
        changed = picture
        for step in order:
            changed = adjust[step](factors[step])(changed)
        # Each step rounds by half a level; later steps multiply that by 1.2 * 1.3 at most. The
        # mean is rounded to a whole number.
        assert np.abs(changed - expected).max() <= 3


def test_colours_of_a_view_are_those_of_its_copy() -> None:
    for view in (noise()[:, ::-1], noise()[::-1, 3:-2], noise()[2:9]):
        expected = colour_jitter(view.copy(), 1.1, 0.8, 1.3)
        np.testing.assert_array_equal(colour_jitter(view, 1.1, 0.8, 1.3), expected)


def test_neutral_colours_change_nothing() -> None:
    np.testing.assert_array_equal(colour_jitter(noise(), 1, 1, 1), noise())


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1))
def test_all_changes_together(seed: int) -> None:
    augment = Augment(hflip=0.5, vflip=0.5, scale=(0.5, 2.0), colour=0.2)
    first = augment.apply(marked(), BOXES, LABELS, np.random.default_rng(seed), SIZE)
    assert_together(*first)
    again = augment.apply(marked(), BOXES, LABELS, np.random.default_rng(seed), SIZE)
    assert [values.tolist() for values in first] == [values.tolist() for values in again]


def test_inputs_are_not_written_to() -> None:
    image, boxes, labels = marked(), BOXES.copy(), LABELS.copy()
    for values in (image, boxes, labels):
        values.setflags(write=False)
    augment = Augment(hflip=1, vflip=1, scale=(0.5, 2.0), colour=1)
    for seed in range(5):
        augment.apply(image, boxes, labels, np.random.default_rng(seed), SIZE)


def test_no_change_by_default() -> None:
    part = Augment().apply(marked(), BOXES, LABELS, np.random.default_rng(0), SIZE)
    assert [v.tolist() for v in part] == [marked().tolist(), BOXES.tolist(), LABELS.tolist()]


def test_crops_move_along_both_axes_independently() -> None:
    augment, spot = Augment(scale=(2, 2)), np.array([[60, 44, 68, 52]], dtype=np.float32)
    offsets = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        _, boxes, _ = augment.apply(marked(), spot, LABELS[:1], rng, SIZE)
        for x1, y1, x2, y2 in boxes:
            if x2 - x1 == y2 - y1 == 16:  # not clipped: x1 = 2 * 60 - left, y1 = 2 * 44 - top
                offsets.append(((120 - x1) / 128, (88 - y1) / 96))
    down, right = np.array(offsets).T
    assert np.ptp(down) > 0.5
    assert np.ptp(right) > 0.5
    assert np.abs(down - right).max() > 0.25


def test_colours_change_once_and_do_not_affect_other_draws() -> None:
    """Colours change in the stored image if that is cropped, otherwise in the fitted one."""
    for crop in (False, True):
        plain, tinted = (Augment(hflip=0.5, colour=c, iou_crop=crop) for c in (0.0, 0.6))
        changed = 0
        for seed in range(8):
            outcomes = []
            for augment in (plain, tinted):
                part = marked(), BOXES, LABELS
                if augment.on_stored:
                    part = augment.arrange(*part, np.random.default_rng((seed, 1)), SIZE)
                arranged = part[0]
                part = augment.apply(*part, np.random.default_rng(seed), SIZE)
                outcomes.append((part[1].tolist(), part[0].max(), arranged.max()))
            assert outcomes[0][0] == outcomes[1][0]
            assert outcomes[0][1:] == (250, 250)
            assert outcomes[1][2] == (outcomes[1][1] if crop else 250)
            changed += outcomes[1][1] != 250
        assert changed > 4


def test_draws_do_not_depend_on_the_settings() -> None:
    ends = set()
    for augment in (Augment(), Augment(1, 1, (0.5, 2), 1), Augment(colour=0.3)):
        rng = np.random.default_rng(0)
        augment.apply(marked(), BOXES, LABELS, rng, SIZE)
        ends.add(rng.random())
    assert len(ends) == 1


def test_an_image_without_boxes() -> None:
    none = np.zeros((0, 4), dtype=np.float32)
    augment = Augment(hflip=1, vflip=1, scale=(0.5, 2), colour=1)
    _, boxes, labels = augment.apply(marked(), none, LABELS[:0], np.random.default_rng(0), SIZE)
    assert (boxes.shape, labels.shape) == ((0, 4), (0,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hflip": 1.5}, r"hflip .* 0 to 1, got 1\.5"),
        ({"vflip": -0.1}, r"vflip .* 0 to 1, got -0\.1"),
        ({"colour": 2}, r"colour .* 0 to 1, got 2"),
        ({"scale": (1.2, 0.8)}, r"scale .* got \(1\.2, 0\.8\)"),
        ({"scale": (0, 1)}, r"scale .* above 0.* got \(0, 1\)"),
        ({"jitter": "TF"}, r"jitter .* fitted, tf, mmdet, got 'TF'"),
    ],
)
def test_settings_are_checked(settings: dict[str, float], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Augment(**settings)  # type: ignore[arg-type]
