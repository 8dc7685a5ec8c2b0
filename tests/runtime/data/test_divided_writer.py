"""Dividing a dataset: what is written, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from coco_folder import GOOD, annotation, load, picture
from formats import add_val, draw, make
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.digest import digest
from nasfpn_runtime.data.divided import FILE
from nasfpn_runtime.data.divided_writer import divide
from nasfpn_runtime.errors import DataError, OutputError

FullDisk = Callable[[], AbstractContextManager[None]]


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / FILE).read_text())
    return found


def test_the_file_says_what_was_divided_and_how(tmp_path: Path) -> None:
    source = make(tmp_path / "data", "voc", draw(1))
    out = tmp_path / "deep" / "out"
    divide(source, out, val=0.3, test=0.2, seed=7)
    found = content(out)
    lists = found.pop("splits")
    assert found == {
        "version": 1,
        "source": "../../data/voc",
        "format": "voc",
        "from": "train",
        "exif": "auto",
        "merge_names": False,
        "digest": digest(load_split(source)),
        "seed": 7,
        "shares": {"train": 0.5, "val": 0.3, "test": 0.2},
    }
    assert {name: len(images) for name, images in lists.items()} == {
        "train": 3,
        "val": 2,
        "test": 1,
    }
    assert sorted(name for images in lists.values() for name in images) == [
        f"JPEGImages/{n:06d}.png" for n in range(6)
    ]
    assert os.listdir(out) == [FILE]


def test_the_seed_alone_decides(tmp_path: Path) -> None:
    source = make(tmp_path, "coco", draw(1))
    for name, seed in (("a", 0), ("b", 0), *((f"c{seed}", seed) for seed in range(1, 9))):
        divide(source, tmp_path / name, val=0.5, seed=seed)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    lists = {json.dumps(content(tmp_path / f"c{seed}")["splits"]) for seed in range(1, 9)}
    assert len(lists) > 1


def test_one_of_several_splits_must_be_named(tmp_path: Path) -> None:
    source = add_val(make(tmp_path, "yolo", draw(1)), "yolo")
    with pytest.raises(DataError, match=r"has 2: train, val; add --from train$"):
        divide(source, tmp_path / "out", val=0.2)
    divide(source, tmp_path / "out", val=0.2, split="val")
    assert content(tmp_path / "out")["from"] == "val"
    assert content(tmp_path / "out")["splits"]["val"][0].startswith("images/val/")
    with pytest.raises(DataError, match="'nope'"):
        divide(source, tmp_path / "other", val=0.2, split="nope")


def test_a_divided_dataset_is_not_divided_again(tmp_path: Path) -> None:
    divide(make(tmp_path, "coco", draw(1)), tmp_path / "out", val=0.5)
    with pytest.raises(DataError, match=rf"got {tmp_path / 'out'}.*{FILE}"):
        divide(tmp_path / "out", tmp_path / "again", val=0.5, split="train")


def test_an_image_that_is_listed_twice_is_refused(folder: Path) -> None:
    load(folder, [picture(1), picture(2), picture(3, file_name="1.png")], [GOOD])
    with pytest.raises(DataError, match=r"'train2017/1\.png' 2 times"):
        divide(folder, folder / "out", val=0.5)


@pytest.mark.parametrize(("images", "test"), [(1, 0.0), (2, 0.1)])
def test_too_few_images_are_refused(folder: Path, images: int, test: float) -> None:
    load(folder, [picture(n) for n in (1, 2)[:images]], [GOOD])
    with pytest.raises(DataError, match=rf"{2 + (test > 0)} splits, got {images}"):
        divide(folder, folder / "out", val=0.2, test=test)
    assert not (folder / "out").exists()


def test_two_images_are_enough_for_two_splits(folder: Path) -> None:
    load(folder, [picture(1), picture(2)], [GOOD, annotation(image_id=2)])
    divide(folder, folder / "out", val=0.2)
    for name in ("train", "val"):
        assert len(load_split(folder / "out", name).samples) == 1


def test_a_split_without_boxes_is_refused(folder: Path) -> None:
    load(folder, [picture(1), picture(2), picture(3)], [GOOD, annotation(id=3)])
    with pytest.raises(DataError, match=r"got none: 1 of 3 images"):
        divide(folder, folder / "out", val=0.3)


@pytest.mark.parametrize(
    ("val", "test"), [(0.0, 0.0), (1.0, 0.0), (0.6, 0.4), (0.2, -0.1), (float("nan"), 0.0)]
)
def test_shares_out_of_range_are_named(tmp_path: Path, val: float, test: float) -> None:
    source = make(tmp_path, "coco", draw(1))
    with pytest.raises(DataError, match=f"got {val} and {test}"):
        divide(source, tmp_path / "out", val=val, test=test)


def test_what_exists_stays_and_a_full_disk_leaves_nothing(
    tmp_path: Path, full_disk: FullDisk
) -> None:
    source = make(tmp_path, "coco", draw(1))
    with full_disk(), pytest.raises(OutputError, match=rf"{tmp_path / 'out'}: "):
        divide(source, tmp_path / "out", val=0.5)
    assert os.listdir(tmp_path) == ["coco"]
    with pytest.raises(DataError, match=rf"{source}, which exists"):
        divide(source, source, val=0.5)
    assert not (source / FILE).exists()
