"""Spellings of ids, numbers, flags and outlines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask

from exports import HEIGHT, WIDTH, box, coco, image, write
from nasfpn_runtime.data.dataset import Split, load_split
from nasfpn_runtime.data.entry import around, box_of, flag, identifier, length, number
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.scoring.coco_eval import evaluate

BIG = 2**70 + 1  # no float is equal


def load(folder: Path, content: dict[str, Any]) -> Split:
    """Read a COCO file with the image a.jpg."""
    write(folder / "annotations" / "instances_train.json", content)
    image(folder / "train" / "a.jpg")
    return load_split(folder)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1), (1.0, 1), (1.5, 1.5), ("1", "1"), ("a", "a"), (BIG, BIG), (-3, -3), (0, 0)],
)
def test_an_id_is_kept_as_it_is(value: Any, expected: Any) -> None:
    assert identifier(value) == expected
    assert type(identifier(value)) is type(expected)


@pytest.mark.parametrize("value", [None, True, "", [1], {}, float("nan"), float("inf")])
def test_what_is_no_id(value: object) -> None:
    assert identifier(value) is None


@pytest.mark.parametrize(
    ("image_id", "named"),
    [(7, 7), (7.0, 7), (7, "7"), ("7", 7), ("a", "a"), (BIG, BIG), (BIG, str(BIG)), (2.5, 2.5)],
)
def test_ids_of_any_kind_come_back_in_results(tmp_path: Path, image_id: Any, named: Any) -> None:
    """Also if the two lists of a file write them in two ways."""
    split = load(tmp_path, coco({image_id: "a.jpg"}, [box(named, category_id="1")]))
    assert split.faults == ()
    (sample,) = split.samples
    assert sample.image_id == image_id
    found = Detections(sample.boxes, np.ones(1, np.float32), sample.labels)
    assert evaluate(split, [(sample.image_id, found)])["AP"] == pytest.approx(1)


def test_categories_are_in_the_order_of_their_ids(tmp_path: Path) -> None:
    names = {"b": "z", "10": "y", 3: "x", "2": "w", 10: "v"}
    split = load(tmp_path, coco({1: "a.jpg"}, [box(1, category_id="b")], names))
    assert split.category_ids == (3, 10, "2", "10", "b")
    assert split.categories[split.samples[0].labels[0]] == "z"


def test_two_categories_of_one_name_are_merged_on_request_only(tmp_path: Path) -> None:
    from nasfpn_runtime.errors import DataError
    from nasfpn_runtime.recipe.settings import Reading

    annotations = [box(1, category_id=1), box(1, category_id=2), box(1, category_id=3)]
    content = coco({1: "a.jpg"}, annotations, {1: "cat", 2: "dog", 3: "cat"})
    with pytest.raises(DataError, match=r"got cat for the ids 1 and 3 \(at .*train\.json\)"):
        load(tmp_path, content)
    split = load_split(tmp_path, reading=Reading(merge_names=True))
    assert (split.categories, split.category_ids) == (("cat", "dog"), (1, 2))
    assert split.samples[0].labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1.0), ("1.5", 1.5), (" -2e1 ", -20.0), (".5", 0.5), ("5.", 5.0)],
)
def test_a_number_may_be_text(value: object, expected: float) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    "value",
    [None, True, "", "1_0", "nan", "inf", "0x1", "1,5", "\u0661", float("nan"), 10**400, "1e999"],
)
def test_what_is_no_number(value: object) -> None:
    assert number(value) is None


def test_sides_are_whole_in_value() -> None:
    assert [length(v) for v in (40, 40.0, "40", "40.0", 40.5, 0, -1, None, True)] == [
        *[40] * 4,
        *[None] * 5,
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((v, True) for v in (1, True, 1.0, "1", "true", "True")),
        *((v, False) for v in (0, False, 0.0, "0", "false", None)),
        *((v, None) for v in (2, -1, 0.5, "", "yes", [], {}, float("nan"))),
    ],
)
def test_flags(value: object, expected: bool | None) -> None:
    assert flag(value) is expected


def test_a_flag_that_is_text_does_not_make_a_crowd(tmp_path: Path) -> None:
    given = [box(1, iscrowd="0", id=1), box(1, iscrowd="1", id=2), box(1, iscrowd="maybe", id=3)]
    split = load(tmp_path, coco({1: "a.jpg"}, given))
    assert split.truth.crowd.tolist() == [False, True]
    (fault,) = split.faults
    assert (fault.kind, fault.got) == ("iscrowd is not 0 or 1", "'maybe'")


def mask_of(x: int, y: int, w: int, h: int) -> tuple[list[int], str]:
    """Return a rectangle as run lengths of a mask, column by column, plain and compressed."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    pixels[y : y + h, x : x + w] = 1
    flat = pixels.ravel(order="F")
    ends = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), len(flat)]
    return np.diff(ends).tolist(), mask.encode(pixels)["counts"].decode()


PLAIN, COMPRESSED = mask_of(4, 6, 20, 10)
OUTLINES = [
    [[4, 6, 24, 6, 24, 16, 4, 16]],
    [[4, 6, 10, 6, 10, 9], [20, 12, 24, 12, 24, 16]],
    {"size": [HEIGHT, WIDTH], "counts": PLAIN},
    {"size": [HEIGHT, WIDTH], "counts": COMPRESSED},
]


@pytest.mark.parametrize("outline", OUTLINES)
@pytest.mark.parametrize("bbox", [None, [], [0, 0, 0, 0], "missing"])
def test_the_box_is_around_the_outline(tmp_path: Path, outline: Any, bbox: Any) -> None:
    entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": outline, "bbox": bbox}
    if bbox == "missing":
        del entry["bbox"]
    split = load(tmp_path, coco({1: "a.jpg"}, [entry, {**entry, "id": 2}]))
    assert split.faults == ()
    assert split.samples[0].boxes.tolist() == [[4, 6, 24, 16]] * 2
    assert [(n.kind, n.action) for n in split.notes] == [
        ("annotation without a box", "box around its outline")
    ] * 2


def test_a_box_is_not_replaced_by_that_of_the_outline(tmp_path: Path) -> None:
    split = load(tmp_path, coco({1: "a.jpg"}, [box(1, [1, 2, 3, 4], segmentation=OUTLINES[0])]))
    assert split.samples[0].boxes.tolist() == [[1, 2, 4, 6]]
    assert split.notes == ()


@pytest.mark.parametrize(
    "outline",
    [
        [],
        [[1, 2]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, "x", 5, 6]],
        [[1, 2, 3, 4, 5, 6], "x"],
        5,
        "text",
        {},
        {"size": [HEIGHT], "counts": PLAIN},
        {"size": [HEIGHT, 10**30], "counts": PLAIN},
        {"size": [HEIGHT, WIDTH], "counts": [1, 2]},
        {"size": [HEIGHT, WIDTH], "counts": [-1, *PLAIN]},
        {"size": [HEIGHT, WIDTH], "counts": [1.5, *PLAIN]},
        {"size": [HEIGHT, WIDTH], "counts": "zzzzzzzzzzzzzz"},
        {"size": [HEIGHT, WIDTH], "counts": "0000"},
        {"size": [HEIGHT, WIDTH], "counts": ""},
        {"size": [HEIGHT, WIDTH], "counts": None},
    ],
)
def test_an_outline_that_is_none_gives_no_box(outline: object) -> None:
    assert box_of({"segmentation": outline}) == (None, False)


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_the_box_of_a_mask_is_that_of_its_pixels(height: int, width: int, data: Any) -> None:
    """From both forms of the run lengths."""
    flat = data.draw(st.lists(st.integers(0, 1), min_size=height * width, max_size=height * width))
    pixels = np.array(flat, np.uint8).reshape((height, width), order="F")
    ends = np.flatnonzero(np.diff([0, *flat, 2]))  # the last is the end of the pixels
    compressed = mask.encode(np.asfortranarray(pixels))
    rows, columns = np.nonzero(pixels)
    expected = None
    if len(rows):
        x, y = int(columns.min()), int(rows.min())
        expected = [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y]
    for counts in (np.diff([0, *ends]).tolist(), compressed["counts"].decode()):
        outline = {"size": [height, width], "counts": counts}
        assert box_of({"segmentation": outline}) == (expected, expected is not None)


def test_the_box_around_points() -> None:
    assert around([5, 1, 2, 7, 4, 3]) == [2, 1, 3, 6]
    assert around([5, 1, 2, 7]) is None
    assert around([5, 1, 2, 7, 4]) is None
