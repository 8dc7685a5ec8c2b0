"""Images with a mark in each box: after all random changes, the boxes are still on the marks."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nasfpn_runtime.pictures.augment import Augment, Part
from nasfpn_runtime.pictures.crops import JITTERS
from nasfpn_runtime.pictures.image import FIT_MODES, INTERPOLATIONS, fit

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]

ROUNDING = 1e-4  # px, of float32 values around 100
SIDES = st.integers(24, 90)
FRAMES = st.tuples(st.sampled_from([32, 64, 96]), st.sampled_from([32, 64, 96]))
FACTORS = st.tuples(st.floats(0.5, 1.0), st.floats(1.0, 2.0))
SETTINGS = st.builds(
    Augment,
    hflip=st.sampled_from([0.0, 0.5, 1.0]),
    vflip=st.sampled_from([0.0, 0.5, 1.0]),
    scale=st.none() | FACTORS,
    jitter=st.sampled_from(["fitted", *JITTERS]),
    iou_crop=st.booleans(),
)


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """Import MindSpore first: it raises the recursion limit, which makes Hypothesis warn."""
    importlib.import_module("mindspore.dataset.vision")


@st.composite
def scenes(draw: st.DrawFn) -> tuple[tuple[int, int], Boxes]:
    """Return the (height, width) of an image and boxes of whole px inside it."""
    height, width = draw(SIDES), draw(SIDES)
    boxes = []
    for _ in range(draw(st.integers(1, 4))):
        w, h = draw(st.integers(3, width)), draw(st.integers(3, height))
        x, y = draw(st.integers(0, width - w)), draw(st.integers(0, height - h))
        boxes.append([x, y, x + w, y + h])
    return (height, width), np.array(boxes, dtype=np.float32)


def marked(shape: tuple[int, int], box: Boxes) -> Image:
    """Return a black image with a white box."""
    image = np.zeros((*shape, 3), dtype=np.uint8)
    x1, y1, x2, y2 = box.astype(int)
    image[y1:y2, x1:x2] = 255
    return image


def extent(image: Image) -> list[int] | None:
    """Return the rectangle, xyxy px, around all pixels of at least half brightness."""
    rows, columns = np.nonzero(image[:, :, 0] > 127)
    if not len(rows):
        return None
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def change(
    augment: Augment, image: Image, boxes: Boxes, seed: int, frame: tuple[int, int], how: Any
) -> Part:
    """Change a stored image as ``Preparer`` does."""
    labels = np.arange(len(boxes), dtype=np.int32)
    if augment.on_stored:
        rng = np.random.default_rng((seed, 1))
        part = augment.arrange(image, boxes, labels, rng, frame, **how)
    else:
        fitted, placement = fit(image, frame, how["fit"], how["interpolation"])
        part = fitted, placement.forward(boxes), labels
    return augment.apply(*part, np.random.default_rng(seed), frame)


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(
    scenes(),
    SETTINGS,
    st.integers(0, 2**32 - 1),
    FRAMES,
    st.sampled_from(FIT_MODES),
    st.sampled_from(INTERPOLATIONS),
)
def test_marks_and_boxes_stay_together(
    scene: tuple[tuple[int, int], Boxes],
    augment: Augment,
    seed: int,
    frame: tuple[int, int],
    mode: str,
    interpolation: str,
) -> None:
    shape, boxes = scene
    how = {"fit": mode, "interpolation": interpolation}
    # Boxes may cover each other, so each is marked in an image of its own.
    for number, drawn in enumerate(boxes):
        image, moved, labels = change(augment, marked(shape, drawn), boxes, seed, frame, how)
        assert image.dtype == np.uint8
        assert moved.dtype == np.float32
        assert (np.array(image.shape[:2]) <= frame).all()
        assert (moved[:, :2] >= -ROUNDING).all()
        assert (moved[:, 2:] <= np.array([image.shape[1], image.shape[0]]) + ROUNDING).all()
        assert (moved[:, :2] < moved[:, 2:]).all()
        assert labels.tolist() == sorted(set(labels.tolist()))
        seen = extent(image)
        if number in labels:
            box = moved[labels.tolist().index(number)]
            if (box[2:] - box[:2]).min() > 2:  # the mark of a thinner one may have faded
                np.testing.assert_allclose(box, seen, atol=1.001)
        elif not augment.iou_crop:  # it also drops boxes that are partly inside, see test_crops
            assert seen is None or min(seen[2] - seen[0], seen[3] - seen[1]) <= 2


@given(scenes(), SETTINGS, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_same_draws_give_the_same_image_and_arguments_are_not_written_to(
    scene: tuple[tuple[int, int], Boxes], augment: Augment, seed: int
) -> None:
    shape, boxes = scene
    image = marked(shape, boxes[0])
    for values in (image, boxes):
        values.setflags(write=False)
    how = {"fit": "squash", "interpolation": "bilinear"}
    first, second = (change(augment, image, boxes, seed, (64, 64), how) for _ in range(2))
    assert [values.tolist() for values in first] == [values.tolist() for values in second]
