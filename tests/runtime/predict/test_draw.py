"""Boxes and names on images: where they are drawn, and that they are readable."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.predict.draw import (
    DARK,
    PALETTE,
    Colour,
    covered_pixels,
    draw,
    place_label,
    text_colour,
)
from search_space.fonts import BOX
from tiny_font import system_fonts, write_font

NAMES = ("cat", "Katze", "κάτα")


def detections(boxes: list[list[float]], labels: list[int] | None = None) -> Detections:
    """Return detections with falling scores."""
    count = len(boxes)
    return Detections(
        np.reshape(boxes, (count, 4)).astype(np.float32),
        np.linspace(1, 0.5, count, dtype=np.float32),
        np.array(labels or [0] * count, np.int32),
        NAMES,
    )


def linear(colour: Colour) -> NDArray[np.float64]:
    """sRGB, IEC 61966-2-1."""
    value = np.array(colour) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def luminance(colour: Colour) -> float:
    return float(linear(colour) @ (0.2126, 0.7152, 0.0722))


def test_names_have_enough_contrast_for_text() -> None:
    for colour in PALETTE:
        dark, light = sorted((luminance(colour), luminance(text_colour(colour))))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour  # WCAG 2.1, 1.4.3


def test_colours_differ_for_colour_blind_people() -> None:
    # Machado, Oliveira and Fernandes (2009), severity 1: protanopia and deuteranopia.
    protan = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216]]
    protan += [[-0.003882, -0.048116, 1.051998]]
    deutan = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413]]
    deutan += [[-0.011820, 0.042940, 0.968881]]
    for kind in (np.eye(3), np.array(protan), np.array(deutan)):
        seen = [kind @ linear(colour) for colour in PALETTE]
        for first, second in itertools.combinations(range(len(PALETTE)), 2):
            distance = np.abs(seen[first] - seen[second]).max()
            assert distance > 0.09, (first, second)  # from 0 to 1; greys 128 and 150 differ by 0.09
            assert distance > 0.6 or second >= 3, (first, second)


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_lines_enclose_the_object_and_are_visible_on_any_ground(ground: int) -> None:
    pixels = np.full((480, 640, 3), ground, np.uint8)
    drawn = np.asarray(draw(pixels, detections([[100, 200, 300, 400]], [1])))
    coloured = (drawn == PALETTE[1]).all(axis=2)
    # sqrt(640 * 480) / 280 = 2 px, inside an edge of 1 px: columns 101, 102 and 297, 298.
    middle = np.flatnonzero(coloured[300])
    assert middle.tolist() == [101, 102, 297, 298]
    assert np.flatnonzero(coloured[210:, 200]).tolist() == [187, 188]  # rows 397, 398
    assert (drawn[300, [100, 103, 296, 299]] == DARK).all()
    changed = (drawn != ground).any(axis=2)
    changed[200:400, 100:300] = False
    rows, columns = np.nonzero(changed)  # the name, above the box's left corner
    if ground:
        assert (rows.min() > 170, rows.max(), columns.min()) == (True, 199, 100)
        assert columns.max() < 200


def test_the_highest_score_is_on_top() -> None:
    pixels = np.zeros((300, 300, 3), np.uint8)
    boxes = [[50, 150, 250, 250], [50, 150, 250, 250]]
    drawn = np.asarray(draw(pixels, detections(boxes, [0, 1])))
    assert (drawn[240, 50:60] == PALETTE[0]).all(axis=1).any()
    assert not (drawn[240, 50:60] == PALETTE[1]).all(axis=1).any()


def test_names_do_not_cover_names_if_there_is_room() -> None:
    taken = np.zeros((0, 4))
    for _ in range(8):  # four heights, left and right
        label = place_label((100, 100, 299, 199), (80, 20), (400, 300), taken)
        assert covered_pixels(label, taken) == 0
        taken = np.vstack([taken, label])
    label = place_label((100, 100, 299, 199), (80, 20), (400, 300), taken)
    assert covered_pixels(label, taken) == 80 * 20


@given(st.data())
def test_covered_pixels_are_those_that_counting_gives(data: st.DataObject) -> None:
    side = st.integers(0, 12)
    rectangles = data.draw(st.lists(st.tuples(side, side, side, side), min_size=1, max_size=5))
    ordered = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in rectangles]
    rectangle, *taken = ordered
    counted = 0
    for x1, y1, x2, y2 in taken:
        mask = np.zeros((13, 13), int)
        mask[y1 : y2 + 1, x1 : x2 + 1] += 1
        counted += mask[rectangle[1] : rectangle[3] + 1, rectangle[0] : rectangle[2] + 1].sum()
    assert covered_pixels(rectangle, np.reshape(taken, (-1, 4)).astype(float)) == counted


@given(st.data())
def test_any_box_is_drawn_on_any_image(data: st.DataObject) -> None:
    width, height = data.draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    x, y = st.floats(0, width, width=32), st.floats(0, height, width=32)
    corners = data.draw(st.lists(st.tuples(x, y, x, y), max_size=4))
    boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]
    pixels = np.full((height, width, 3), 77, np.uint8)
    pixels.setflags(write=False)
    drawn = draw(pixels, detections(boxes))
    assert (drawn.width, drawn.height) == (width, height)
    assert (np.asarray(drawn) != 77).any() == bool(boxes)
    for a, b, c, d in boxes:  # every box has changed the pixels that it touches
        inside = np.asarray(drawn)[
            int(min(b, height - 1)) : int(np.ceil(d)), int(min(a, width - 1)) : int(np.ceil(c))
        ]
        assert not inside.size or (inside != 77).any()


def test_letters_other_than_latin_are_drawn() -> None:
    pixels = np.zeros((200, 300, 3), np.uint8)
    greek, empty = (
        np.asarray(draw(pixels, Detections(*one_box(), categories=(name,))))
        for name in ("κάτα", "\uf123")
    )
    assert not np.array_equal(greek, empty)
    assert isinstance(draw(pixels, detections([])), Image.Image)


def test_a_name_is_drawn_with_the_font_that_has_its_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cat = "\u732b"
    font = write_font(tmp_path / "tiny.ttf", cat)

    def drawn(name: str) -> NDArray[np.uint8]:
        pixels = np.full((600, 600, 3), 128, np.uint8)
        return np.asarray(draw(pixels, Detections(*one_box(), categories=(name,))))

    with system_fonts(font), warnings.catch_warnings():
        warnings.simplefilter("error")
        found = drawn(f"a{cat}$b")
    # Text of 600 / 44 = 14 px: the character is a square of 0.7 * 14 = 10 px.
    dark = (found[60:100, 50:200] == DARK).all(axis=2)
    squares = np.lib.stride_tricks.sliding_window_view(dark, (9, 9)).all(axis=(2, 3))
    assert squares.any()
    assert capsys.readouterr().err == ""
    with system_fonts():
        missing = drawn(f"a{cat}$b")
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith("apt install fonts-noto-cjk")
        np.testing.assert_array_equal(missing, drawn(f"a{BOX}$b"))
        assert capsys.readouterr().err == ""


def one_box() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    box = np.array([[50, 100, 200, 180]], np.float32)
    return box, np.ones(1, np.float32), np.zeros(1, np.int32)
