"""A digest of a split depends on images, boxes and categories, and not on their format."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from formats import NAMES, WRITERS, Drawn, draw, make
from nasfpn_runtime.data import digest as module
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.digest import check_unchanged, digest, digests
from nasfpn_runtime.data.mindrecord_writer import pack
from nasfpn_runtime.errors import ChangedDataError, DataError

KINDS = (*WRITERS, *(f"mindrecord-{name}" for name in WRITERS))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_format_of_the_same_images_has_the_same(tmp_path: Path, seed: int) -> None:
    drawn = draw(seed)
    results = {kind: digest(load_split(make(tmp_path / kind, kind, drawn))) for kind in KINDS}
    assert len(set(results.values())) == 1, results
    assert all(value.startswith("v2:") and len(value) == 67 for value in results.values())


@pytest.mark.parametrize("kind", ["coco", "voc", "mindrecord-coco", "mindrecord-voc"])
def test_crowd_regions_are_the_same_in_the_formats_that_have_them(
    tmp_path: Path, kind: str
) -> None:
    with_crowds = draw(1, crowds=True)
    assert any(box[-1] for picture in with_crowds for box in picture.boxes)
    given = digest(load_split(make(tmp_path / "given", kind, with_crowds)))
    assert given == digest(load_split(make(tmp_path / "coco", "coco", with_crowds)))
    assert given != digest(load_split(make(tmp_path / "plain", "coco", draw(1))))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_and_the_order_do_not_matter(tmp_path: Path, kind: str) -> None:
    drawn = draw(2)
    given = digest(load_split(make(tmp_path / "a", kind, drawn)))
    turned = [replace(picture, boxes=picture.boxes[::-1]) for picture in drawn[::-1]]
    assert digest(load_split(make(tmp_path / "b", kind, turned))) == given
    moved = shutil.move(tmp_path / "a", tmp_path / "moved")
    (folder,) = (
        (f for f in Path(moved).iterdir() if not f.name.startswith("mind"))
        if ("mindrecord" not in kind)
        else Path(moved).glob("*-packed")
    )
    assert digest(load_split(folder)) == given


def _move_a_box(drawn: list[Drawn]) -> list[Drawn]:
    x1, y1, x2, y2, *rest = drawn[0].boxes[0]
    box = (x1, y1, x2 - 1 if x2 - x1 > 1 else x2 + 1, y2, *rest)
    return [replace(drawn[0], boxes=(box, *drawn[0].boxes[1:])), *drawn[1:]]


def _change_a_class(drawn: list[Drawn]) -> list[Drawn]:
    *corners, label, crowd = drawn[0].boxes[0]
    box = (*corners, (label + 1) % len(NAMES), crowd)
    return [replace(drawn[0], boxes=(*drawn[0].boxes, box)), *drawn[1:]]


def _add_a_box_twice(drawn: list[Drawn]) -> list[Drawn]:
    return [replace(drawn[0], boxes=(*drawn[0].boxes, drawn[0].boxes[0])), *drawn[1:]]


def _exchange_boxes(drawn: list[Drawn]) -> list[Drawn]:
    a, b = drawn[:2]
    return [replace(a, boxes=b.boxes), replace(b, boxes=a.boxes), *drawn[2:]]


def _rename_an_image(drawn: list[Drawn]) -> list[Drawn]:
    return [replace(drawn[0], name="000099"), *drawn[1:]]


def _leave_an_image_out(drawn: list[Drawn]) -> list[Drawn]:
    return drawn[:-1]


def _repaint_an_image(drawn: list[Drawn]) -> list[Drawn]:
    return [replace(drawn[0], pixels=np.zeros_like(drawn[0].pixels)), *drawn[1:]]


CHANGES = (
    _move_a_box,
    _change_a_class,
    _add_a_box_twice,
    _exchange_boxes,
    _rename_an_image,
    _leave_an_image_out,
    _repaint_an_image,
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_images_or_boxes_is_seen(
    tmp_path: Path, kind: str, change: Callable[[list[Drawn]], list[Drawn]]
) -> None:
    given = digest(load_split(make(tmp_path / "a", kind, draw(0))))
    assert digest(load_split(make(tmp_path / "b", kind, change(draw(0))))) != given


def test_categories_count_in_their_order(tmp_path: Path) -> None:
    split = load_split(make(tmp_path, "coco", draw(0)))
    others = (NAMES[::-1], ("catd", "og", "owl"), (*NAMES, "yak"))
    renamed = {digest(replace(split, categories=names)) for names in (NAMES, *others)}
    assert len(renamed) == 4


def test_six_decimals_of_yolo_are_the_boxes_they_were_made_from(tmp_path: Path) -> None:
    """Boxes with two decimals in images of 1,003 x 997 px, written as fractions and read again."""
    split = load_split(make(tmp_path, "coco", draw(0)))
    width, height = 1003, 997
    rng = np.random.default_rng(0)
    count = len(split.truth.box)
    first = np.round(rng.uniform(0, 400, (count, 2)), 2)
    box = np.concatenate([first, np.round(rng.uniform(1, 500, (count, 2)), 2)], axis=1)
    sides = np.array([width, height, width, height])
    centred = box / sides + np.concatenate([box[:, 2:] / sides[2:] / 2, np.zeros((count, 2))], 1)
    read = np.round(centred, 6)
    read[:, :2] -= read[:, 2:] / 2
    samples = tuple(replace(sample, width=width, height=height) for sample in split.samples)
    assert not np.array_equal(read * sides, box)
    digested = {
        digest(replace(split, samples=samples, truth=replace(split.truth, box=boxes)))
        for boxes in (box, read * sides)
    }
    assert len(digested) == 1


def test_a_box_that_becomes_a_crowd_region_is_seen(tmp_path: Path) -> None:
    split = load_split(make(tmp_path, "coco", draw(0)))
    crowd = split.truth.crowd.copy()
    crowd[0] = ~crowd[0]
    assert digest(replace(split, truth=replace(split.truth, crowd=crowd))) != digest(split)


def test_names_with_any_characters_have_a_digest(tmp_path: Path) -> None:
    split = load_split(make(tmp_path, "coco", draw(0)))
    names = ("a\x00b", "\ud800", os.fsdecode(b"\xff"))
    assert digest(replace(split, categories=names)) != digest(split)


@pytest.mark.parametrize("packed", [False, True], ids=["coco", "mindrecord"])
def test_other_bytes_of_the_same_size_are_seen(tmp_path: Path, packed: bool) -> None:
    """The last byte of an image file, which no decoder reads, is the only difference."""
    folder = make(tmp_path, "coco", draw(0))
    path = load_split(folder).samples[0].path
    assert isinstance(path, Path)
    content, given = path.read_bytes(), set()
    for last in (b"\1", b"\2"):
        path.write_bytes(content + last)
        split = load_split(folder)
        if packed:
            pack({"train": split}, tmp_path / f"packed-{last[0]}", shards=1)
            split = load_split(tmp_path / f"packed-{last[0]}")
        assert len(split.samples) == len(draw(0))
        given.add(digest(split))
    assert len(given) == 2


def test_no_image_of_a_large_split_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = load_split(make(tmp_path, "coco", draw(0)))
    size = sum(sample.file_size() for sample in split.samples)
    monkeypatch.setattr(module, "MOST_READ", size)
    read = digest(split)
    monkeypatch.setattr(module, "MOST_READ", size - 1)
    with monkeypatch.context() as patch:  # pytest itself opens files, to report a failure
        patch.setattr(Path, "open", None)
        patch.setattr("builtins.open", None)
        unread = digest(split)
    assert unread != read


def test_an_image_that_has_gone_is_named(tmp_path: Path) -> None:
    split = load_split(make(tmp_path, "coco", draw(0)))
    path = split.samples[3].path
    assert isinstance(path, Path)
    path.unlink()
    with pytest.raises(DataError, match=str(path)):
        digest(split)


def test_a_changed_split_is_named(tmp_path: Path) -> None:
    split = load_split(make(tmp_path, "coco", draw(0)))
    expected = digests({"train": split})
    check_unchanged(expected, digests({"train": split, "val": split}), "folder")
    other = replace(split, categories=NAMES[::-1])
    with pytest.raises(ChangedDataError, match=r"'train' .*folder"):
        check_unchanged(expected, digests({"train": other}), "folder")
