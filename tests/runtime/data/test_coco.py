"""COCO folders: what is read, and messages for what is not COCO."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coco_folder import GOOD, annotation, load, picture
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.errors import DataError


def test_a_file_without_faults(folder: Path) -> None:
    second = annotation(image_id=3, category_id=3, bbox=[0, 0, 40, 30])
    crowd = annotation(id=3, bbox=[20, 10, 5.5, 5], iscrowd=1, area=11.5)
    split = load(folder, [picture(3), picture(1)], [GOOD, second, crowd])
    assert split.faults == ()
    assert split.categories == ("dog", "cat")  # by id
    assert split.category_ids == (3, 7)
    three, one = split.samples
    assert (three.image_id, three.path) == (3, folder / "train2017" / "3.png")
    assert (one.width, one.height) == (40, 30)
    assert (three.boxes.tolist(), three.labels.tolist()) == ([[0, 0, 40, 30]], [0])
    assert (one.boxes.tolist(), one.labels.tolist()) == ([[5, 6, 15, 14]], [1])
    assert one.crowd.tolist() == [[20, 10, 25.5, 15]]
    assert three.crowd.shape == (0, 4)
    dtypes = [values.dtype for values in (one.boxes, one.labels, one.crowd)]
    assert dtypes == [np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.float32)]
    truth = split.truth
    assert truth.sample.tolist() == [1, 0, 1]
    assert truth.label.tolist() == [1, 0, 1]
    assert truth.box.tolist() == [[5, 6, 10, 8], [0, 0, 40, 30], [20, 10, 5.5, 5]]
    assert truth.area.tolist() == [60, 60, 11.5]
    assert truth.crowd.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"JSON: .* \(at .*train2017\.json\)$"),
        ("[" * 100_000, r"JSON: .* \(at .*train2017\.json\)$"),
        ("\udcff", r"JSON: .* \(at .*train2017\.json\)$"),
        ("[]", "'images', got none"),
        ('{"images": {}}', "'images', got none"),
        ('{"images": [], "annotations": []}', "'categories', got none"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1}]}',
            r"name .* got {'id': 1} \(at categories\[0\]",
        ),
        (
            '{"images": [], "annotations": [], "categories": '
            '[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            r"id .* got {'id': 1, 'name': 'b'} \(at categories\[1\]",
        ),
        ('{"images": [], "annotations": [], "categories": []}', "image with a box, got none"),
    ],
)
def test_what_is_not_coco_is_named(folder: Path, content: str, message: str) -> None:
    file = folder / "annotations" / "instances_train2017.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message) as caught:
        load_split(folder)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'val' in .*; found none$"):
        load_split(folder, "val")
    empty = '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}'
    (folder / "annotations" / "instances_val2017.json").write_text(empty)
    with pytest.raises(DataError, match=r"'val'.*val2017, got no folder"):
        load_split(folder, "val")
