"""Names of images in a new folder: unique, writable, and the old ones where possible."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from nasfpn_runtime.data.rows import Row
from nasfpn_runtime.data.samples import Sample
from nasfpn_runtime.data.writers import coco, voc, yolo
from nasfpn_runtime.data.writers.names import Names

NONE = np.zeros((0, 4), np.float32)
NOTHING = re.compile("(?!)")


def sample(path: str | Row, box: int = 0) -> Sample:
    boxes = np.full((1, 4), box, np.float32)
    where = Path(path) if isinstance(path, str) else path
    return Sample(1, where, 4, 4, boxes, np.zeros(1, np.int32), NONE)


def added(names: Names, *paths: str | Row, split: str = "train") -> list[str]:
    return [names.add(sample(path), split) for path in paths]


def test_an_image_keeps_its_name() -> None:
    names = Names(False, NOTHING)
    given = ["a.jpg", "b c.png", "写真.jpg", "a.png", ".jpg", "x"]
    assert added(names, *(f"/data/{name}" for name in given)) == given
    assert names.changed == []


def test_images_of_one_name_get_their_folders_and_then_a_number() -> None:
    names = Names(False, NOTHING)
    paths = ["/d/a/1.jpg", "/d/b/1.jpg", "/e/b/1.jpg", "/d/x/b_1.jpg"]
    assert added(names, *paths) == ["1.jpg", "b_1.jpg", "e_b_1.jpg", "x_b_1.jpg"]
    assert added(names, "/1.jpg", "/d/a/1.jpg") == ["1-2.jpg", "a_1.jpg"]
    assert names.changed[:2] == [("1.jpg", "b_1.jpg"), ("1.jpg", "e_b_1.jpg")]
    rows = [Row(("s",), number, "r.jpg", 1) for number in range(3)]
    assert added(names, *rows) == ["r.jpg", "r-2.jpg", "r-3.jpg"]


def test_suffixes_tell_images_apart_only_where_annotations_are_in_one_file() -> None:
    paths = ("/d/a.jpg", "/d/a.png", "/d/a.b.jpg")
    assert added(Names(False, NOTHING), *paths) == ["a.jpg", "a.png", "a.b.jpg"]
    assert added(Names(True, NOTHING), *paths) == ["a.jpg", "d_a.png", "a.b.jpg"]


def test_an_image_of_several_splits_has_one_name_if_its_boxes_are_the_same() -> None:
    names = Names(True, NOTHING)
    assert added(names, "/d/a.jpg") == ["a.jpg"]
    assert added(names, "/d/a.jpg", split="val") == ["a.jpg"]
    assert names.add(sample("/d/a.jpg", box=1), "val") == "d_a.jpg"
    assert added(names, "/d/a.jpg") == ["a-2.jpg"]  # listed twice in one split: two entries


@pytest.mark.parametrize(
    ("module", "name", "fitting"),
    [
        (coco, "a\\b c.jpg", "a_b c.jpg"),
        (yolo, "a\\b c.jpg", "a_b c.jpg"),
        (voc, "a\\b c.jpg", "a_b c.jpg"),
        (voc, " a b .jpg", "_a b_.jpg"),
        (coco, "a\nb\x1b.jpg", "a_b_.jpg"),
        (voc, os.fsdecode(b"a\xff.jpg"), "a_.jpg"),
    ],
)
def test_characters_that_cannot_be_written_are_replaced(
    module: type, name: str, fitting: str
) -> None:
    names = Names(module.BY_STEM, module.UNFIT)
    row = Row(("s",), 0, name, 1)
    assert added(names, row) == [fitting]
    assert names.changed == [(name, fitting)]


@pytest.mark.parametrize("letter", ["x", "写"])
def test_names_stay_short_enough_for_a_file_system(letter: str) -> None:
    names = Names(False, NOTHING)
    long = letter * (240 // len(letter.encode()))
    path = f"/{'f' * 200}/{long}.jpg"
    given = added(names, *[path] * 4)
    assert len(set(given)) == 4
    assert all(len(os.fsencode(name)) <= 250 and name.endswith(".jpg") for name in given)
