"""Datasets: which format a folder has, empty ones, reports of faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from coco_folder import CATEGORIES, GOOD, annotation, load, picture
from nasfpn_runtime.data.dataset import (
    check_same_categories,
    fault_lines,
    fault_report,
    form_of,
    load_split,
    split_names,
)
from nasfpn_runtime.data.samples import Fault
from nasfpn_runtime.errors import DataError


def test_the_report_counts_by_kind_and_names_three() -> None:
    faults = [Fault("box odd", f"annotations[{i}]", "dropped") for i in range(5)]
    faults.insert(2, Fault("box even", "annotations[9]", "clipped"))
    assert fault_report(faults).splitlines() == [
        "5 x box odd, dropped: annotations[0], annotations[1], annotations[2], ...",
        "1 x box even, clipped: annotations[9]",
    ]
    assert fault_report([]) == ""


def test_fault_lines_have_the_file_and_every_fault(folder: Path) -> None:
    flat, outside = annotation(bbox=[5, 6, 0, 8]), annotation(id=3, bbox=[-4, 6, 14, 8])
    split = load(folder, [picture(1)], [GOOD, flat, outside])
    file = folder / "annotations" / "instances_train2017.json"
    assert fault_lines(split).splitlines() == [
        f"{file}: box without area: annotations[1] (id 2, image 1) got "
        "[5.0, 6.0, 0.0, 8.0]: dropped",
        f"{file}: box partly outside the image: annotations[2] (id 3, image 1): clipped",
    ]
    assert fault_lines(split).endswith("\n")
    assert fault_lines(load(folder, [picture(1)], [GOOD])) == ""


def test_an_empty_data_set_tells_why(folder: Path) -> None:
    with pytest.raises(DataError, match=r"got none: 2 x image file missing, dropped: images\[0"):
        load(folder, [picture(8), picture(9)], [])


@pytest.mark.parametrize("form", [None, "coco", "mindrecord"])
def test_a_path_that_is_no_folder_is_named(tmp_path: Path, form: str | None) -> None:
    file = tmp_path / "set.zip"
    file.touch()
    for read in (load_split, lambda path, _, form: split_names(path, form)):
        with pytest.raises(DataError, match=r"no such dataset folder: .*nowhere$"):
            read(tmp_path / "nowhere", "train", form)
        with pytest.raises(DataError, match=r"got a file: .*set\.zip; unpack it"):
            read(file, "train", form)


@pytest.mark.parametrize("file", ["data.yaml", "annotations/instances_train.json"])
def test_a_file_of_a_dataset_names_the_folder_to_give(tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    with pytest.raises(DataError, match=rf"got a file: .*; give the folder {tmp_path}$"):
        form_of(path)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("train/_annotations.createml.json", "CreateML"),
        ("via_region_data.json", "VIA"),
        ("ds0/ann/a.jpg.json", "Supervisely"),
        ("training/label_2/a.txt", "KITTI"),
        ("train/labelTxt/a.txt", "DOTA"),
        ("train-annotations-bbox.csv", "CSV"),
    ],
)
def test_another_format_is_named(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("{}")
    with pytest.raises(DataError, match=f"; {name} is not read; .* COCO, VOC or YOLO$"):
        form_of(tmp_path)


def test_mindrecord_of_the_model_zoo_is_to_be_made_again(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"annotations/\*\.json \(COCO\), .*, got .*") as caught:
        form_of(tmp_path)
    assert str(caught.value).endswith("with nothing in it")
    for number in range(8):
        (tmp_path / f"retinanet.mindrecord{number}").touch()
        (tmp_path / f"retinanet.mindrecord{number}.db").touch()
    with pytest.raises(DataError, match=r"MindRecord of the model zoo.* nasfpn data create"):
        form_of(tmp_path)
    (tmp_path / "annotations").mkdir()
    assert form_of(tmp_path) == "coco"


@pytest.mark.parametrize(
    ("file", "missing"),
    [
        ("set.json", "got .* with set.json; for COCO, .* images, annotations and categories$"),
        ("a/b/set.json", "with a/; for COCO, put .* into annotations/$"),
        ("a/b/c/x.xml", "with a/; for VOC, .* Annotations/ .* JPEGImages/$"),
        ("a/x.txt", "with a/; for YOLO, .* images/train/, .* labels/train/$"),
        ("a/x.jpg", "with a/; there are images, but no annotations$"),
        ("a/x.bin", "with a/$"),
    ],
)
def test_what_is_missing_for_the_nearest_format_is_named(
    tmp_path: Path, file: str, missing: str
) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("{}")
    with pytest.raises(DataError, match=missing):
        form_of(tmp_path)


def test_a_dataset_one_folder_deeper_is_named(tmp_path: Path) -> None:
    (tmp_path / "set" / "annotations").mkdir(parents=True)
    with pytest.raises(DataError, match=r"got .*; .*/set has coco$"):
        form_of(tmp_path)


def test_categories_are_compared_by_name(folder: Path) -> None:
    split = load(folder, [picture(1)], [GOOD])
    check_same_categories(split, split)
    other = load(folder, [picture(1)], [GOOD], [*CATEGORIES, {"id": 9, "name": "owl"}])
    with pytest.raises(DataError, match=r"got dog, cat .* and dog, cat, owl"):
        check_same_categories(split, other)
