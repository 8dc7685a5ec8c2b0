"""COCO folders: what is read, every kind of fault, and that no file makes it crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from nasfpn_runtime.data.coco import find_split
from nasfpn_runtime.data.dataset import (
    Split,
    check_same_categories,
    fault_report,
    form_of,
    load_split,
    split_names,
)
from nasfpn_runtime.data.samples import Fault
from nasfpn_runtime.errors import DataError

Entry = dict[str, Any]

CATEGORIES: list[Entry] = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
GOOD: Entry = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [5, 6, 10, 8], "area": 60}


def picture(number: int, **changes: object) -> Entry:
    return {"id": number, "file_name": f"{number}.png", "width": 40, "height": 30, **changes}


def annotation(**changes: object) -> Entry:
    return {**GOOD, "id": 2, **changes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set with the pictures 1.png to 3.png, 40 x 30, and no annotation file."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train2017").mkdir()
    for number in (1, 2, 3):
        Image.new("RGB", (40, 30)).save(tmp_path / "train2017" / f"{number}.png")
    (tmp_path / "train2017" / "text.png").write_text("not a picture")
    Image.new("RGB", (40, 30)).save(tmp_path / "outside.png")
    return tmp_path


def load(
    folder: Path,
    images: list[Any],
    annotations: list[Any],
    categories: list[Entry] = CATEGORIES,
) -> Split:
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(data))
    return load_split(folder)


def test_a_sound_file(folder: Path) -> None:
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
    ("changes", "kind"),
    [
        ({"bbox": [5, 6, 0, 8]}, "box without area"),
        ({"bbox": [5, 6, 10, -8]}, "box without area"),
        ({"bbox": [40, 6, 10, 8]}, "box outside the picture"),
        ({"bbox": [5, -9, 10, 9]}, "box outside the picture"),
        # 1e-9 px wide: no width in float32.
        ({"bbox": [20, 6, 1e-9, 8]}, "box outside the picture"),
        ({"bbox": [5, 6, 10]}, "box is not four finite numbers"),
        ({"bbox": None}, "box is not four finite numbers"),
        ({"bbox": ["5", 6, 10, 8]}, "box is not four finite numbers"),
        ({"bbox": [5, 6, float("nan"), 8]}, "box is not four finite numbers"),
        ({"bbox": [5, 6, float("inf"), 8]}, "box is not four finite numbers"),
        ({"bbox": [5, 6, 10**400, 8]}, "box is not four finite numbers"),
        ({"bbox": [5, True, 10, 8]}, "box is not four finite numbers"),
        ({"category_id": 4}, "category unknown"),
        ({"category_id": [7]}, "category unknown"),
        ({"image_id": 99}, "annotation of an unknown picture"),
        ({"image_id": {}}, "annotation of an unknown picture"),
        ({"image_id": 2}, "annotation of a dropped picture"),
    ],
)
def test_a_faulty_annotation_is_dropped(folder: Path, changes: Entry, kind: str) -> None:
    bad = annotation(**changes)
    split = load(folder, [picture(1), picture(2, file_name="gone.png")], [GOOD, bad])
    where = f"annotations[1] (id 2, picture {bad['image_id']})"
    assert split.faults[1:] == (Fault(kind, where, "dropped"),)
    assert [sample.boxes.tolist() for sample in split.samples] == [[[5, 6, 15, 14]]]
    assert len(split.truth.box) == 1


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"file_name": "gone.png"}, "picture file missing"),
        ({"file_name": "x" * 5000}, "picture file missing"),
        ({"file_name": "a\0b"}, "picture file missing"),
        ({"file_name": "text.png"}, "picture file unreadable"),
        ({"file_name": "../outside.png"}, "file name outside the picture folder"),
        ({"file_name": "/etc/passwd"}, "file name outside the picture folder"),
        ({"file_name": 5}, "picture without a file name"),
        ({"file_name": ""}, "picture without a file name"),
        ({"width": None}, "picture without width and height"),
        ({"height": -30}, "picture without width and height"),
        ({"width": 30, "height": 40}, "picture size not as annotated"),
        ({"id": 1}, "picture id repeated"),
    ],
)
def test_a_faulty_picture_is_dropped(folder: Path, changes: Entry, kind: str) -> None:
    bad = picture(2, **changes)
    split = load(folder, [picture(1), bad], [GOOD])
    assert split.faults == (Fault(kind, f"images[1] (id {bad['id']})", "dropped"),)
    assert [sample.image_id for sample in split.samples] == [1]


@pytest.mark.parametrize("bad", [None, 5, {}, {"id": "1"}, {"id": True}, {"id": 1.5}])
def test_a_picture_without_an_id_is_dropped(folder: Path, bad: object) -> None:
    split = load(folder, [bad, picture(1)], [GOOD])
    assert split.faults == (Fault("picture without an id", "images[0]", "dropped"),)


def test_an_annotation_that_is_no_object_is_dropped(folder: Path) -> None:
    split = load(folder, [picture(1)], [GOOD, 5])
    assert split.faults == (Fault("annotation malformed", "annotations[1]", "dropped"),)


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ([-4, 6, 14, 8], [0, 6, 10, 14]),
        ([5, -4, 10, 14], [5, 0, 15, 10]),
        ([30, 6, 20, 8], [30, 6, 40, 14]),
        ([5, 20, 10, 14], [5, 20, 15, 30]),
    ],
)
def test_a_box_partly_outside_is_clipped_for_training_only(
    folder: Path, box: list[int], inside: list[int]
) -> None:
    split = load(folder, [picture(1)], [annotation(bbox=box)])
    kind, where = "box partly outside the picture", "annotations[0] (id 2, picture 1)"
    assert split.faults == (Fault(kind, where, "clipped"),)
    assert split.samples[0].boxes.tolist() == [inside]
    assert split.truth.box.tolist() == [box]


def test_two_decimals_are_no_fault(folder: Path) -> None:
    split = load(folder, [picture(1)], [annotation(bbox=[-0.01, 0, 40.02, 30.01])])
    assert split.faults == ()
    assert split.samples[0].boxes.tolist() == [[0, 0, 40, 30]]


def test_a_repeated_annotation_id_is_kept(folder: Path) -> None:
    twin = annotation(id=1, bbox=[1, 1, 2, 2])
    split = load(folder, [picture(1)], [GOOD, twin])
    assert [fault.action for fault in split.faults] == ["kept"]
    assert len(split.samples[0].boxes) == 2


def test_a_missing_area_is_that_of_the_box(folder: Path) -> None:
    split = load(folder, [picture(1)], [annotation(area=None)])
    assert split.truth.area.tolist() == [80]


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-50, 50), st.floats(), st.text(max_size=3)
)
junk = st.one_of(scalars, st.lists(scalars, max_size=4), st.dictionaries(st.text(), scalars))
some_id = st.one_of(st.sampled_from([1, 2, 3, 7]), junk)
some_picture = st.one_of(
    junk,
    st.fixed_dictionaries(
        {
            "id": some_id,
            "file_name": st.one_of(st.sampled_from(["1.png", "2.png", "text.png", "."]), junk),
            "width": st.one_of(st.just(40), junk),
            "height": st.one_of(st.just(30), junk),
        }
    ),
)
some_box = st.one_of(
    st.lists(st.one_of(st.integers(-50, 50), st.floats()), min_size=4, max_size=4), junk
)
some_annotation = st.one_of(
    junk,
    st.fixed_dictionaries(
        {"image_id": some_id, "category_id": some_id, "bbox": some_box},
        optional={"id": some_id, "area": junk, "iscrowd": junk},
    ),
)


@given(st.lists(some_picture, max_size=4), st.lists(some_annotation, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the folder is rewritten
def test_any_file_is_accounted_for(folder: Path, images: list[Any], annotations: list[Any]) -> None:
    split = load(folder, [picture(3), *images], [annotation(image_id=3), *annotations])
    dropped = [fault.where for fault in split.faults if fault.action == "dropped"]
    of_pictures = sum(where.startswith("images") for where in dropped)
    assert len(split.samples) + of_pictures == 1 + len(images)
    boxes = sum(len(sample.boxes) + len(sample.crowd) for sample in split.samples)
    assert boxes == len(split.truth.box)
    assert boxes + len(dropped) - of_pictures == 1 + len(annotations)
    for sample in split.samples:
        every = np.concatenate([sample.boxes, sample.crowd])
        assert np.isfinite(every).all()
        assert (every[:, :2] >= 0).all()
        assert (every[:, 2:] <= [sample.width, sample.height]).all()
        assert (every[:, :2] < every[:, 2:]).all()
        assert set(sample.labels.tolist()) <= {0, 1}
        assert len(sample.labels) == len(sample.boxes)
    assert np.isfinite(split.truth.area).all()
    fault_report(split.faults)


def test_the_report_counts_by_kind_and_names_three() -> None:
    faults = [Fault("box odd", f"annotations[{i}]", "dropped") for i in range(5)]
    faults.insert(2, Fault("box even", "annotations[9]", "clipped"))
    assert fault_report(faults).splitlines() == [
        "5 x box odd, dropped: annotations[0], annotations[1], annotations[2], ...",
        "1 x box even, clipped: annotations[9]",
    ]
    assert fault_report([]) == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "an annotation file is JSON, got"),
        ("[" * 100_000, "an annotation file is JSON, got"),
        ("\udcff", "an annotation file is JSON, got"),
        ("[]", "has a list 'images', got none"),
        ('{"images": {}}', "has a list 'images', got none"),
        ('{"images": [], "annotations": []}', "has a list 'categories', got none"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1}]}',
            r"a name, got {'id': 1} \(at categories\[0\]",
        ),
        (
            '{"images": [], "annotations": [], "categories": '
            '[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            r"an id of its own .*\(at categories\[1\]",
        ),
        ('{"images": [], "annotations": [], "categories": []}', "a picture with a box, got none"),
    ],
)
def test_what_is_not_coco_is_named(folder: Path, content: str, message: str) -> None:
    file = folder / "annotations" / "instances_train2017.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message) as caught:
        load_split(folder)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_data_set_tells_why(folder: Path) -> None:
    with pytest.raises(DataError, match=r"got none: 2 x picture file missing, dropped: images\[0"):
        load(folder, [picture(8), picture(9)], [])


@pytest.mark.parametrize("form", [None, "coco", "mindrecord"])
def test_a_folder_that_is_not_there_or_none_is_named(tmp_path: Path, form: str | None) -> None:
    file = tmp_path / "set.zip"
    file.touch()
    for read in (load_split, lambda path, _, form: split_names(path, form)):
        with pytest.raises(
            DataError, match=r"^a data set is a folder, got no such folder: .*nowhere$"
        ):
            read(tmp_path / "nowhere", "train", form)
        with pytest.raises(DataError, match=r"^a data set is a folder, got a file: .*set\.zip$"):
            read(file, "train", form)


def test_mindrecord_of_the_model_zoo_is_to_be_made_again(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a folder with .* annotations/ \(COCO\), .*, got .*") as e:
        form_of(tmp_path)
    assert "MindRecord of" not in str(e.value)
    for number in range(8):
        (tmp_path / f"retinanet.mindrecord{number}").touch()
        (tmp_path / f"retinanet.mindrecord{number}.db").touch()
    with pytest.raises(DataError, match=r"make MindRecord of the model zoo again .*data create"):
        form_of(tmp_path)
    (tmp_path / "annotations").mkdir()
    assert form_of(tmp_path) == "coco"


def test_missing_files_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"split 'val' has one file .* got no such file"):
        load_split(folder, "val")
    (folder / "annotations" / "instances_val2017.json").write_text("{}")
    with pytest.raises(DataError, match=r"pictures of split 'val' are in .*val2017, got no folder"):
        load_split(folder, "val")


def test_a_split_is_one_file(folder: Path) -> None:
    annotations = folder / "annotations"
    for name in ("train2017", "trainable", "train2017b", "val"):
        (annotations / f"instances_{name}.json").write_text("{}")
        (folder / name).mkdir(exist_ok=True)
    assert find_split(folder, "train")[1] == folder / "train2017"
    (annotations / "instances_train2014.json").write_text("{}")
    with pytest.raises(DataError, match=r"got instances_train2014.json, instances_train2017.json"):
        find_split(folder, "train")
    for split in ("train2017", "val", "trainable"):
        file, pictures = find_split(folder, split)
        assert (file.name, pictures.name) == (f"instances_{split}.json", split)
    (annotations / "instances_train.json").write_text("{}")
    (folder / "train").mkdir()
    assert find_split(folder, "train")[1] == folder / "train"


def test_categories_are_compared_by_name(folder: Path) -> None:
    split = load(folder, [picture(1)], [GOOD])
    check_same_categories(split, split)
    other = load(folder, [picture(1)], [GOOD], [*CATEGORIES, {"id": 9, "name": "owl"}])
    with pytest.raises(DataError, match=r"got dog, cat .* and dog, cat, owl"):
        check_same_categories(split, other)
