"""Sets whose boxes are all in other units are refused; single odd boxes are faults."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exports import box, coco, image, voc, write
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.units import CORNERS, SHARES, SIZES, check_boxes
from nasfpn_runtime.errors import DataError

FILE = Path("set.json")
WIDTH, HEIGHT = 200, 100


@st.composite
def corner_boxes(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """Return boxes of at least 2 px by their corners, inside an image of 200 x 100 px."""
    boxes = []
    for _ in range(draw(st.integers(4, 12))):
        x1, y1 = draw(st.integers(0, WIDTH - 2)), draw(st.integers(0, HEIGHT - 2))
        x2, y2 = draw(st.integers(x1 + 2, WIDTH)), draw(st.integers(y1 + 2, HEIGHT))
        boxes.append((x1, y1, x2, y2))
    return boxes


def rows(boxes: list[tuple[float, float, float, float]]) -> list[tuple[int, int, list[float]]]:
    """Return boxes with the size of their image."""
    return [(WIDTH, HEIGHT, list(map(float, numbers))) for numbers in boxes]


@given(corner_boxes())
def test_what_is_right_is_never_refused(boxes: list[tuple[int, int, int, int]]) -> None:
    check_boxes(rows([(a, b, c - a, d - b) for a, b, c, d in boxes]), SIZES, FILE)
    check_boxes(rows(list(boxes)), CORNERS, FILE)
    shares = [
        ((a + c) / 2 / WIDTH, (b + d) / 2 / HEIGHT, (c - a) / WIDTH, (d - b) / HEIGHT)
        for a, b, c, d in boxes
    ]
    check_boxes(rows(shares), SHARES, FILE)


@given(corner_boxes())
def test_corners_are_not_taken_for_sizes(boxes: list[tuple[int, int, int, int]]) -> None:
    out = sum(a + c > WIDTH + 1 or b + d > HEIGHT + 1 for a, b, c, d in boxes)
    assume(2 * out > len(boxes))
    with pytest.raises(DataError, match=r"boxes look like the corners .*\(at set\.json\)"):
        check_boxes(rows(list(boxes)), SIZES, FILE)


@given(corner_boxes())
def test_sizes_are_not_taken_for_corners(boxes: list[tuple[int, int, int, int]]) -> None:
    sizes = [(a, b, c - a, d - b) for a, b, c, d in boxes]
    assume(2 * sum(w < x or h < y for x, y, w, h in sizes) > len(sizes))
    with pytest.raises(DataError, match=r"boxes look like x, y, width, height"):
        check_boxes(rows(list(sizes)), CORNERS, FILE)


@given(corner_boxes())
def test_pixels_are_not_taken_for_shares(boxes: list[tuple[int, int, int, int]]) -> None:
    assume(all(max(numbers) > 2 for numbers in boxes))
    with pytest.raises(DataError, match=r"boxes look like pixels"):
        check_boxes(rows(list(boxes)), SHARES, FILE)


@pytest.mark.parametrize("expected", [SIZES, CORNERS])
def test_shares_are_not_taken_for_pixels(expected: str) -> None:
    with pytest.raises(DataError, match=r"got \[0\.1, 0\.2, 0\.3, 0\.4\] .* all 2 boxes .* shares"):
        check_boxes(rows([(0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 1.0, 1.0)]), expected, FILE)


def test_one_box_tells_nothing() -> None:
    check_boxes(rows([(150, 50, 200, 100)]), SIZES, FILE)
    check_boxes(rows([(150, 50, 200, 100), (0, 0, 4, 4)]), SIZES, FILE)  # nor one of two
    check_boxes([], SIZES, FILE)


def test_inclusive_corners_of_thin_boxes_may_be_equal() -> None:
    """In VOC, a box of one column has xmin = xmax."""
    check_boxes(rows([(30, 20, 30, 60), (40, 30, 40, 30), (9, 50, 90, 50)]), CORNERS, FILE)


@pytest.mark.parametrize("expected", [SIZES, CORNERS, SHARES])
@pytest.mark.filterwarnings("error")
def test_numbers_of_any_size_raise_no_warning(expected: str) -> None:
    with suppress(DataError):
        check_boxes(rows([(1e308, 1, 1e308, 1), (-1e308, 1, -1e308, 1)]), expected, FILE)


def test_a_coco_set_of_corners_is_named(tmp_path: Path) -> None:
    given = [box(1, [30, 20, 60, 40]), box(1, [40, 30, 64, 48])]
    write(tmp_path / "annotations" / "instances_train.json", coco({1: "a.jpg"}, given))
    image(tmp_path / "train" / "a.jpg")
    with pytest.raises(DataError, match=r"all 2 boxes look like the corners .*train\.json"):
        load_split(tmp_path)


def test_a_voc_set_of_sizes_is_named(tmp_path: Path) -> None:
    write(tmp_path / "ImageSets" / "Main" / "train.txt", ["a", "b"])
    for name in ("a", "b"):
        write(tmp_path / "Annotations" / f"{name}.xml", voc(f"{name}.jpg", (30, 20, 10, 8)))
        image(tmp_path / "JPEGImages" / f"{name}.jpg")
    with pytest.raises(DataError, match=r"all 2 boxes look like x, y, width, height"):
        load_split(tmp_path)


def test_a_yolo_set_of_pixels_is_named(tmp_path: Path) -> None:
    write(tmp_path / "data.yaml", "names: [cat]\n")
    write(tmp_path / "labels" / "train" / "a.txt", ["0 14 11 20 10", "0 30 20 5 5"])
    image(tmp_path / "images" / "train" / "a.jpg")
    with pytest.raises(DataError, match=r"all 2 boxes look like pixels"):
        load_split(tmp_path)
