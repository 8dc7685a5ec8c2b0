"""Splits that list the images of another dataset: what they read, and what they refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coco_folder import CATEGORIES, GOOD, annotation, load, picture
from formats import WRITERS, draw, make
from nasfpn_runtime.data.dataset import Split, form_of, load_split, split_names
from nasfpn_runtime.data.divided import FILE, image_names
from nasfpn_runtime.data.divided_writer import divide
from nasfpn_runtime.data.rows import Row
from nasfpn_runtime.data.samples import Sample
from nasfpn_runtime.errors import ChangedDataError, DataError
from nasfpn_runtime.recipe.settings import Reading

KINDS = (*WRITERS, *(f"mindrecord-{name}" for name in WRITERS))
NONE = np.zeros((0, 4), np.float32)


def contents(split: Split) -> dict[object, tuple[object, ...]]:
    """Return what a split has of each image, by id."""
    found: dict[object, tuple[object, ...]] = {}
    truth = split.truth
    for number, sample in enumerate(split.samples):
        rows = truth.sample == number
        arrays = (truth.label, truth.box, truth.area, truth.crowd)
        found[sample.image_id] = (
            sample.path.read_bytes(),
            (sample.width, sample.height),
            *(array.tobytes() for array in (sample.boxes, sample.labels, sample.crowd)),
            *(array[rows].tobytes() for array in arrays),
        )
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_splits_have_each_image_of_any_format_once(tmp_path: Path, kind: str) -> None:
    source = make(tmp_path, kind, draw(3, crowds="coco" in kind))
    given = load_split(source)
    divide(source, tmp_path / "out", val=0.4)
    assert form_of(tmp_path / "out") == "splits"
    assert split_names(tmp_path / "out") == ("train", "val")
    train, val = (load_split(tmp_path / "out", name) for name in ("train", "val"))
    assert (len(train.samples), len(val.samples)) == (4, 2)
    a, b = contents(train), contents(val)
    assert not a.keys() & b.keys()
    assert {**a, **b} == contents(given)
    for split in (train, val):
        assert split.categories == given.categories
        assert split.category_ids == given.category_ids
        order = [s.image_id for s in given.samples if s.image_id in contents(split)]
        assert [sample.image_id for sample in split.samples] == order


def divided(folder: Path) -> tuple[Path, Path]:
    """Write a COCO folder with two folders of images of one name, and divide it."""
    source = folder / "source"
    (source / "annotations").mkdir(parents=True)
    shutil.copytree(make(folder, "coco", draw(0)) / "train2017", source / "train2017")
    shutil.copytree(source / "train2017", source / "train2017" / "more")
    size = {"width": 64, "height": 32}
    names = [f"{part}{n:06d}.png" for part in ("", "more/") for n in range(6)]
    images = [picture(n, file_name=name, **size) for n, name in enumerate(names)]
    boxes = [annotation(id=n, image_id=n, bbox=[n, 1, 5, 6]) for n in range(12)]
    load(source, images, boxes)
    divide(source, folder / "out", val=0.5)
    return source, folder / "out"


def edit(source: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = source / "annotations" / "instances_train2017.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def test_images_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    source, out = divided(tmp_path)
    a, b = (contents(load_split(out, name)) for name in ("train", "val"))
    assert len(a) == len(b) == 6
    assert {**a, **b} == contents(load_split(source))


@pytest.mark.parametrize("frame", ["stored", "upright"])
def test_the_dataset_is_read_as_it_was_when_it_was_divided(tmp_path: Path, frame: str) -> None:
    """Also if it is read in another way later: the frame of turned images is in the file."""
    source, _ = divided(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 3
    for path in (source / "train2017").rglob("*.png"):
        Image.open(path).convert("RGB").save(path.with_suffix(".jpg"), exif=exif)
    file = source / "annotations" / "instances_train2017.json"
    file.write_text(file.read_text().replace(".png", ".jpg"))
    divide(source, tmp_path / "two", val=0.5, reading=Reading(exif=frame))
    for later in ("auto", "stored", "upright"):
        split = load_split(tmp_path / "two", "val", reading=Reading(exif=later))
        assert {sample.upright for sample in split.samples} == {frame == "upright"}


def test_images_are_found_by_name_where_ids_and_order_change(tmp_path: Path) -> None:
    source, out = divided(tmp_path)
    before = [sample.path for sample in load_split(out, "val").samples]

    def renumber(data: dict[str, Any]) -> None:
        data["images"] = [{**entry, "id": entry["id"] + 3} for entry in data["images"][::-1]]
        for entry in data["annotations"]:
            entry["image_id"] += 3

    edit(source, renumber)
    assert [sample.path for sample in load_split(out, "val").samples] == before[::-1]


def test_ids_may_be_text(tmp_path: Path) -> None:
    source, _ = divided(tmp_path)

    def rename(data: dict[str, Any]) -> None:
        for entry in data["images"]:
            entry["id"] = f"id {entry['id']}"
        for entry in data["annotations"]:
            entry["image_id"] = f"id {entry['image_id']}"

    edit(source, rename)
    divide(source, tmp_path / "two", val=0.5)
    splits = [load_split(tmp_path / "two", name) for name in ("train", "val")]
    found = {sample.image_id for split in splits for sample in split.samples}
    assert found == {f"id {number}" for number in range(12)}


def test_both_folders_may_move_together_and_be_given_in_any_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = divided(tmp_path / "a")
    given = contents(load_split(out))
    shutil.move(tmp_path / "a", tmp_path / "b")
    (tmp_path / "link").symlink_to(tmp_path / "b" / "out")
    monkeypatch.chdir(tmp_path / "b" / "out")
    for folder in (tmp_path / "b" / "out", tmp_path / "link", Path(), Path("..", "out")):
        assert contents(load_split(folder)) == given


def _move(source: Path) -> None:
    source.rename(source.with_name("elsewhere"))


def _lose_annotations(source: Path) -> None:
    shutil.rmtree(source / "annotations")


def _lose_a_picture(source: Path) -> None:
    (source / "train2017" / "000002.png").unlink()


def _exchange_a_picture(source: Path) -> None:
    with (source / "train2017" / "000002.png").open("ab") as file:
        file.write(b"more")


def _move_a_box(source: Path) -> None:
    edit(source, lambda data: data["annotations"][3].update(bbox=[9, 9, 5, 6]))


def _add_a_picture(source: Path) -> None:
    shutil.copy(source / "train2017" / "000001.png", source / "train2017" / "9.png")
    entry = picture(99, file_name="9.png", width=64, height=32)
    edit(source, lambda data: data["images"].append(entry))


def _exchange_names(source: Path) -> None:
    (source / "train2017" / "more").rename(source / "train2017" / "others")
    edit(
        source,
        lambda data: [
            entry.update(file_name=entry["file_name"].replace("more", "others"))
            for entry in data["images"]
        ],
    )


def _list_a_picture_twice(source: Path) -> None:
    edit(source, lambda data: data["images"].append({**data["images"][0], "id": 99}))


@pytest.mark.parametrize(
    "change",
    [
        _move,
        _lose_annotations,
        _lose_a_picture,
        _exchange_a_picture,
        _move_a_box,
        _add_a_picture,
        _exchange_names,
        _list_a_picture_twice,
    ],
)
def test_a_dataset_that_has_gone_or_changed_is_refused(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    source, out = divided(tmp_path)
    load_split(out, "val")
    change(source)
    for name in ("train", "val"):
        with pytest.raises(ChangedDataError, match=r"source.* nasfpn data split") as caught:
            load_split(out, name)
        assert str(out / FILE) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": 2}, "2"),
        ({"version": None}, "None"),
        ({"source": 3}, "3"),
        ({"format": "splits"}, "'splits'"),
        ({"format": "zip"}, "'zip'"),
        ({"from": None}, "None"),
        ({"digest": 1}, "1"),
        ({"exif": "up"}, "'up'"),
        ({"merge_names": 1}, "1"),
        ({"splits": ["train"]}, "train"),
        ({"splits": {"train": "all"}}, "'train'"),
        ({"splits": {"train": [7]}}, "'train'"),
        ({"splits": {"train": ["a", "b"], "val": ["a"]}}, "'a'"),
        ({"splits": {"train": ["a", "a"]}}, "'a'"),
        ({"source": "../nowhere"}, "nowhere"),
        ({"from": "nope"}, "nope"),
        ({"splits": {"train": ["train2017/nothing.png"]}}, "others"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, change: dict[str, object], named: str) -> None:
    _, out = divided(tmp_path)
    content = json.loads((out / FILE).read_text())
    (out / FILE).write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=f"{named}.*{FILE}"):
        load_split(out)


def test_a_file_that_is_cut_short_is_named_and_not_taken_for_another_format(
    tmp_path: Path,
) -> None:
    _, out = divided(tmp_path)
    (out / FILE).write_bytes((out / FILE).read_bytes()[:300])
    assert form_of(out) == "splits"
    with pytest.raises(DataError, match=rf"JSON.*{FILE}"):
        load_split(out)


def test_a_file_of_that_name_of_another_program_is_not_read(tmp_path: Path) -> None:
    source = make(tmp_path, "coco", draw(0))
    (source / FILE).write_text(json.dumps({"train": ["a.jpg"], "val": []}))
    assert form_of(source) == "coco"
    (source / FILE).write_text("[]")
    assert form_of(source) == "coco"


def test_faults_of_the_dataset_are_listed(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    shutil.copytree(make(tmp_path, "coco", draw(0)) / "train2017", tmp_path / "train2017")
    size = {"width": 64, "height": 32}
    images = [picture(n, file_name=f"00000{n}.png", **size) for n in range(4)]
    boxes = [annotation(id=n, image_id=n) for n in range(4)]
    given = load(tmp_path, images, [*boxes, {**GOOD, "id": 9, "bbox": [1, 1, 0, 1]}], CATEGORIES)
    divide(tmp_path, tmp_path / "out", val=0.5)
    assert len(given.faults) == 1
    assert load_split(tmp_path / "out", "val").faults == given.faults


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    _, out = divided(tmp_path)
    with pytest.raises(DataError, match=r"'test' .*found train, val"):
        load_split(out, "test")


def test_ids_of_any_kind_name_images_of_mindrecord() -> None:
    """One image has the id 1 and another one the id "1"."""
    labels = np.zeros(0, np.int32)
    samples = [
        Sample(number, Row(("a",), n, "1.jpg", 9), 4, 4, NONE, labels, NONE)  # type: ignore
        for n, number in enumerate((1, "1", 2))
    ]
    names = image_names(samples, Path("source"))
    assert names == ["1.jpg (id 1)", "1.jpg (id '1')", "1.jpg (id 2)"]


def test_an_image_outside_of_the_dataset_has_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.zeros(0, np.int32)
    paths = (tmp_path / "a" / "b" / "1.jpg", tmp_path / "c" / "1.jpg")
    samples = [Sample(n, path, 4, 4, NONE, labels, NONE) for n, path in enumerate(paths)]
    names = ["b/1.jpg", str(tmp_path / "c" / "1.jpg")]
    assert image_names(samples, tmp_path / "a") == names
    monkeypatch.chdir(tmp_path)
    assert image_names(samples, Path("a")) == names
