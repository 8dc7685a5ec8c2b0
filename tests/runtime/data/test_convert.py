"""Conversion: any dataset, written in another format and read again, is the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coco_folder import annotation, load, picture
from formats import add_val, draw, make
from nasfpn_runtime.data import voc
from nasfpn_runtime.data.convert import WRITERS, Changes, convert
from nasfpn_runtime.data.dataset import Split, form_of, load_split, split_names
from nasfpn_runtime.data.digest import digest
from nasfpn_runtime.data.divided_writer import divide
from nasfpn_runtime.data.mindrecord_writer import pack
from nasfpn_runtime.errors import DataError, OutputError
from nasfpn_runtime.recipe.settings import Reading
from random_sets import write_random

FullDisk = Callable[[], AbstractContextManager[None]]
BOUND = 2e-9  # px: VOC is written with nine decimals


def load_all(folder: Path) -> dict[str, Split]:
    return {name: load_split(folder, name) for name in split_names(folder)}


def converted(folder: Path, out: Path, form: str, link: bool = False) -> tuple[Changes, Path]:
    return convert(load_all(folder), out, form, link=link, progress=False), out


def assert_same(made: Split, given: Split, form: str) -> None:
    """Compare all that a format can hold; images are matched by their content."""
    assert made.categories == given.categories
    contents = [sample.path.read_bytes() for sample in made.samples]
    order = [contents.index(sample.path.read_bytes()) for sample in given.samples]
    assert sorted(order) == list(range(len(contents)))
    if form != "yolo":
        assert order == list(range(len(contents)))
    if form == "coco":
        assert [s.image_id for s in made.samples] == [s.image_id for s in given.samples]
        assert made.category_ids == given.category_ids
    for number, place in enumerate(order):
        a, b = made.samples[place], given.samples[number]
        assert (a.width, a.height) == (b.width, b.height)
        rows = made.truth.sample == place
        others = given.truth.sample == number
        if form == "yolo":
            others &= ~given.truth.crowd
        else:
            np.testing.assert_allclose(a.crowd, b.crowd, rtol=0, atol=1e-5)
        np.testing.assert_allclose(a.boxes, b.boxes, rtol=0, atol=1e-5)  # float32
        np.testing.assert_array_equal(a.labels, b.labels)
        for field in ("label", "crowd", *(["area"] if form == "coco" else [])):
            np.testing.assert_array_equal(
                getattr(made.truth, field)[rows], getattr(given.truth, field)[others]
            )
        bound = 0 if form == "coco" else BOUND
        boxes = made.truth.box[rows], given.truth.box[others]
        np.testing.assert_allclose(*boxes, rtol=0, atol=bound)


@pytest.mark.slow
@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("seed", range(12))
def test_a_random_dataset_is_the_same_through_every_pair_of_formats(
    tmp_path: Path, form: str, seed: int
) -> None:
    source = write_random(tmp_path / "source", seed, ("train", "val"))
    _, middle = converted(source, tmp_path / form, form)
    assert form_of(middle) == form
    assert sorted(split_names(middle)) == ["train", "val"]
    for name in ("train", "val"):
        assert_same(load_split(middle, name), load_split(source, name), form)
    for other in WRITERS:
        _, end = converted(middle, tmp_path / f"{form}-{other}", other)
        for name in ("train", "val"):
            assert_same(load_split(end, name), load_split(middle, name), other)


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("kind", ["text", "mindrecord", "splits"])
def test_a_dataset_of_any_other_format_is_the_same(tmp_path: Path, form: str, kind: str) -> None:
    source = write_random(tmp_path / "source", 5)
    given = tmp_path / "given"
    if kind == "text":
        given = make(given, "text", draw(0))
    elif kind == "mindrecord":
        pack(load_all(source), given, shards=2, progress=False)
    else:
        divide(source, given, val=0.4)
    _, out = converted(given, tmp_path / "out", form)
    for name, split in load_all(given).items():
        assert_same(load_split(out, name), split, form)


def test_integers_are_written_as_integers_and_the_dataset_keeps_its_digest(tmp_path: Path) -> None:
    drawn = draw(2)
    for form in WRITERS:
        source = make(tmp_path, form, drawn)
        for other in WRITERS:
            changes, out = converted(source, tmp_path / f"{form}-{other}", other)
            assert changes.corner == 0
            assert not changes.names
            assert "areas" not in changes.counts
            assert digest(load_split(out)) == digest(load_split(source))
    text = (tmp_path / "coco-voc" / "Annotations" / "000000.xml").read_text()
    x1, y1, x2, y2, *_ = drawn[0].boxes[0]
    corners = re.findall(r"<[xy]m\w\w>(.*)</", text)[:4]
    assert corners == [str(n) for n in (x1 + 1, y1 + 1, x2, y2)]


def test_what_a_format_cannot_hold_is_counted(tmp_path: Path) -> None:
    source = write_random(tmp_path / "source", 3)
    given = load_split(source)
    crowds = int(given.truth.crowd.sum())
    ids = {"image ids": len(given.samples), "class ids": len(given.categories)}
    assert crowds > 0
    for form, lost in {
        "coco": {},
        "voc": {"areas": len(given.truth.box), **ids},
        "yolo": {"crowd regions": crowds, "areas": len(given.truth.box) - crowds, **ids},
    }.items():
        changes, _ = converted(source, tmp_path / form, form)
        assert changes.counts == lost
        assert changes.corner <= BOUND


def test_corners_in_a_large_image_stay_where_they_are(tmp_path: Path) -> None:
    """An image of 8,000 x 6,000 px with 500 boxes of any position."""
    rng = np.random.default_rng(0)
    width, height = 8000, 6000
    (tmp_path / "source" / "annotations").mkdir(parents=True)
    (tmp_path / "source" / "train2017").mkdir()
    Image.new("1", (width, height)).save(tmp_path / "source" / "train2017" / "1.png")
    first = rng.uniform(0, (width, height), (500, 2))
    boxes = np.concatenate([first, rng.uniform(1, (width, height), (500, 2))], axis=1)
    rows = [annotation(id=n, bbox=box) for n, box in enumerate(boxes.tolist())]
    load(tmp_path / "source", [picture(1, width=width, height=height)], rows)
    for form, bound in {"coco": 0, "voc": 1e-9, "yolo": 1e-11}.items():
        changes, _ = converted(tmp_path / "source", tmp_path / form, form)
        assert changes.corner <= bound


def turned(folder: Path, suffix: str, orientation: int, upright: bool) -> Split:
    """Write two images with an EXIF orientation, of 32 x 16 px, and read them in a frame."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "train2017").mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise = np.random.default_rng(orientation).integers(0, 256, (2, 16, 32, 3), dtype=np.uint8)
    width, height = (16, 32) if upright and orientation > 4 else (32, 16)
    for number, pixels in enumerate(noise):
        path = folder / "train2017" / f"{number}.{suffix}"
        Image.fromarray(pixels).save(path, exif=exif)
    size = {"width": width, "height": height}
    images = [picture(n, file_name=f"{n}.{suffix}", **size) for n in range(2)]
    boxes = [annotation(id=n, image_id=n, bbox=[1, 2, 5 + n, 6]) for n in range(2)]
    load(folder, images, boxes)
    frame = "upright" if upright else "stored"
    split = load_split(folder, reading=Reading(exif=frame))
    assert [sample.upright for sample in split.samples] == [upright] * 2
    return split


@pytest.mark.slow
@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_boxes_stay_on_what_they_show_in_images_that_viewers_turn(
    tmp_path: Path, form: str, upright: bool, suffix: str
) -> None:
    for orientation in range(2, 9):
        source, out = tmp_path / f"{orientation}", tmp_path / f"out-{orientation}"
        given = turned(source, suffix, orientation, upright)
        if form == "coco" and upright and orientation < 5:  # its size does not tell the frame
            with pytest.raises(DataError, match=rf"0\.{suffix}\); convert to voc or yolo"):
                convert({"train": given}, out, form, progress=False)
            continue
        changes = convert({"train": given}, out, form, link=orientation % 2 == 0, progress=False)
        removed = 0 if upright or form == "coco" else 2
        assert changes.counts.get("EXIF orientations", 0) == removed
        made = load_split(out)
        for a, b in zip(made.samples, given.samples, strict=True):
            assert a.upright == upright
            assert (a.width, a.height) == (b.width, b.height)
            np.testing.assert_array_equal(a.read(), b.read())
            np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-5)
        again = load_split(source, reading=Reading(exif="upright" if upright else "stored"))
        assert digest(again) == digest(given)  # links do not change their target


def test_an_orientation_that_cannot_be_removed_is_named(tmp_path: Path) -> None:
    """It is in XMP, which is text."""
    given = turned(tmp_path / "source", "jpg", 3, False)
    path = tmp_path / "source" / "train2017" / "0.jpg"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="3"/></x:xmpmeta>'
    Image.fromarray(draw(0)[0].pixels[:16, :32]).save(path, xmp=xmp)
    with pytest.raises(DataError, match=r"0\.jpg\); convert to coco"):
        convert({"train": given}, tmp_path / "out", "yolo", progress=False)
    assert not (tmp_path / "out").exists()


def test_links_lead_to_the_images_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_random(tmp_path / "a" / "source", 0)
    monkeypatch.chdir(tmp_path / "a")
    given = load_split(tmp_path / "a" / "source")
    for form in WRITERS:
        converted(Path("source"), Path("out", form), form, link=True)
        shutil.move(tmp_path / "a" / "out" / form, tmp_path / form)
        made = load_split(tmp_path / form)
        assert_same(made, given, form)
        links = [sample.path for sample in made.samples]
        assert all(os.path.islink(link) for link in links)
        targets = sorted(os.readlink(link) for link in links)
        assert targets == sorted(str(sample.path) for sample in given.samples)


def test_images_of_mindrecord_cannot_be_linked(tmp_path: Path) -> None:
    source = make(tmp_path, "mindrecord-coco", draw(0))
    with pytest.raises(DataError, match=r"000000\.png in .*--link"):
        converted(source, tmp_path / "out", "yolo", link=True)
    assert not (tmp_path / "out").exists()


def test_splits_that_share_images_share_them_in_voc(tmp_path: Path) -> None:
    source = add_val(make(tmp_path, "voc", draw(0)), "voc")
    changes, out = converted(source, tmp_path / "out", "voc")
    assert not changes.names
    assert len(os.listdir(out / "JPEGImages")) == len(load_split(source).samples)
    assert digest(load_split(out, "val")) == digest(load_split(source))


def test_images_of_one_name_in_two_splits_stay_two_images(tmp_path: Path) -> None:
    """Only VOC has one folder for the images of all splits."""
    source = add_val(make(tmp_path, "coco", draw(0)), "coco")
    for form in WRITERS:
        changes, out = converted(source, tmp_path / f"out-{form}", form)
        assert len(changes.names) == (6 if form == "voc" else 0)
        for name in ("train", "val"):
            assert_same(load_split(out, name), load_split(source, name), form)


@pytest.mark.parametrize("form", ["voc", "yolo"])
def test_splits_of_other_classes_are_refused(tmp_path: Path, form: str) -> None:
    source = add_val(make(tmp_path, "coco", draw(0)), "coco")
    file = source / "annotations" / "instances_val2017.json"
    file.write_text(file.read_text().replace("owl", "yak"))
    with pytest.raises(DataError, match=r"cat, dog, owl .* cat, dog, yak"):
        converted(source, tmp_path / "out", form)
    converted(source, tmp_path / "coco-too", "coco")


@pytest.mark.parametrize("most", [0, 600])
def test_a_folder_that_would_be_read_differently_does_not_appear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """VOC files above a size are not read: here all of them, and those with several boxes."""
    source = make(tmp_path, "coco", draw(0))
    monkeypatch.setattr(voc, "MOST_BYTES", most)
    with pytest.raises(DataError, match=r"instances_train2017\.json as voc"):
        converted(source, tmp_path / "out", "voc")
    assert os.listdir(tmp_path) == ["coco"]


def test_an_image_file_that_has_gone_is_named(tmp_path: Path) -> None:
    source = make(tmp_path, "coco", draw(0))
    splits = load_all(source)
    (source / "train2017" / "000003.png").unlink()
    with pytest.raises(DataError, match=r"000003\.png"):
        convert(splits, tmp_path / "out", "voc", progress=False)
    assert os.listdir(tmp_path) == ["coco"]


def test_a_disk_without_room_is_named_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make(tmp_path, "coco", draw(0))
    room = shutil.disk_usage(source)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room)
    with pytest.raises(DataError, match=r"disk .* got 0 MB \(at "):
        converted(source, tmp_path / "out", "coco")
    assert os.listdir(tmp_path) == ["coco"]


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("link", [False, True])
def test_what_exists_stays_and_a_full_disk_leaves_nothing(
    tmp_path: Path, form: str, link: bool, full_disk: FullDisk
) -> None:
    source = make(tmp_path, "coco", draw(0))
    with full_disk(), pytest.raises((OutputError, OSError), match=r"out\b"):
        converted(source, tmp_path / "out", form, link)
    assert os.listdir(tmp_path) == ["coco"]
    with pytest.raises(DataError, match=rf"{source}, which exists"):
        converted(source, source, form, link)
    assert form_of(source) == "coco"


# In a separate process without threads, since a process with threads cannot safely fork.
KILLED = """
import os, signal, sys
from pathlib import Path
from nasfpn_runtime.data import convert as module
from nasfpn_runtime.data.dataset import load_split

source, out, form = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
splits = {"train": load_split(source, "train")}

def dies(function, call):
    calls = []
    def wrapped(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped

points = [
    (module.shutil, "copyfile", 1),
    (module.shutil, "copyfile", 4),
    (module.WRITERS[form], "write_split", 1),
    (module.WRITERS[form], "finish", 1),
    (module, "load_split", 1),
    (os, "rename", 1),
]
for owner, name, call in points:
    child = os.fork()
    if not child:
        setattr(owner, name, dies(getattr(owner, name), call))
        module.convert(splits, out, form, progress=False)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(name, os.WTERMSIG(status), out.exists(), len(list(out.parent.glob(".*.partial"))))
module.convert(splits, out, form, progress=False)
print("done", out.exists(), len(list(out.parent.glob(".*.partial"))))
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", WRITERS)
def test_a_killed_conversion_leaves_nothing_that_looks_complete(tmp_path: Path, form: str) -> None:
    source = make(tmp_path, "coco", draw(0))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, source, tmp_path / "out", form],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    # Each killed writer leaves its draft, which the next one removes.
    assert done.stdout.splitlines() == [
        "copyfile 9 False 1",
        "copyfile 9 False 1",
        "write_split 9 False 1",
        "finish 9 False 1",
        "load_split 9 False 1",
        "rename 9 False 1",
        "done True 0",
    ], done.stderr
