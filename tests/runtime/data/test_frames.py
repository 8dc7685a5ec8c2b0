"""The frame of images with an EXIF orientation, in every format."""

from __future__ import annotations

from pathlib import Path

import pytest

from exports import YOLO_LINE, box, coco, image, voc, write
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.digest import digest
from nasfpn_runtime.data.mindrecord_writer import pack
from nasfpn_runtime.recipe.settings import Reading

TURNED = 6  # a viewer turns the image by 90 degrees
HALF = 3  # by 180 degrees: the size does not tell the frame
SIZE = "<size><width>{}</width><height>{}</height></size>"


def frames(folder: Path, exif: str = "auto") -> list[tuple[bool, int, int]]:
    """Return, for each image of the split, whether it is upright, and its width and height."""
    split = load_split(folder, reading=Reading(exif=exif))
    assert split.faults == ()
    for sample in split.samples:
        assert sample.read().shape[:2] == (sample.height, sample.width)
    return [(s.upright, s.width, s.height) for s in split.samples]


def write_coco(folder: Path, sizes: list[tuple[int, int, int]]) -> Path:
    """Write images of stored size 64 x 48, given annotated width and height and orientation."""
    entries = {
        n: {"file_name": f"{n}.jpg", "width": w, "height": h} for n, (w, h, _) in enumerate(sizes)
    }
    write(folder / "annotations" / "instances_train.json", coco(entries, [box(0)]))
    for number, (_, _, orientation) in enumerate(sizes):
        image(folder / "train" / f"{number}.jpg", orientation=orientation)
    return folder


def test_the_annotated_size_tells_the_frame(tmp_path: Path) -> None:
    folder = write_coco(tmp_path, [(64, 48, TURNED), (48, 64, TURNED), (64, 48, 1)])
    assert frames(folder) == [(False, 64, 48), (True, 48, 64), (False, 64, 48)]
    actions = {(note.where, note.action[-12:]) for note in load_split(folder).notes}
    assert len(actions) == 2  # of the two images with an orientation


@pytest.mark.parametrize(("width", "height", "upright"), [(64, 48, False), (48, 64, True)])
def test_the_others_of_the_set_tell_where_the_size_does_not(
    tmp_path: Path, width: int, height: int, upright: bool
) -> None:
    folder = write_coco(tmp_path, [(64, 48, HALF), (width, height, TURNED), (64, 48, HALF)])
    assert [frame[0] for frame in frames(folder)] == [upright] * 3


def test_the_convention_decides_where_nothing_or_too_much_tells(tmp_path: Path) -> None:
    assert frames(write_coco(tmp_path / "a", [(64, 48, HALF)])) == [(False, 64, 48)]
    mixed = [(64, 48, HALF), (64, 48, TURNED), (48, 64, TURNED)]
    assert [f[0] for f in frames(write_coco(tmp_path / "b", mixed))] == [False, False, True]


def test_the_user_may_say_otherwise(tmp_path: Path) -> None:
    folder = write_coco(tmp_path, [(64, 48, HALF)])
    assert frames(folder, "upright") == [(True, 64, 48)]
    image(folder / "train" / "0.jpg", orientation=TURNED)
    (fault,) = load_split_faults(folder, "upright")
    assert fault == ("image size not as annotated", "64 x 48 for 48 x 64")


def load_split_faults(folder: Path, exif: str) -> list[tuple[str, str]]:
    """Return the faults of images in a set to which a sound image is added."""
    entries = {
        0: {"file_name": "0.jpg", "width": 64, "height": 48},
        1: {"file_name": "1.jpg", "width": 64, "height": 48},
    }
    write(folder / "annotations" / "instances_train.json", coco(entries, [box(1)]))
    image(folder / "train" / "1.jpg")
    split = load_split(folder, reading=Reading(exif=exif))
    return [(f.kind, f.got) for f in split.faults]


def test_a_size_that_fits_no_frame_is_a_fault(tmp_path: Path) -> None:
    folder = write_coco(tmp_path, [(10, 10, TURNED)])
    image(folder / "train" / "0.jpg", 40, 30, TURNED)
    assert ("image size not as annotated", "64 x 48 for 40 x 30") in load_split_faults(
        folder, "auto"
    )


@pytest.mark.parametrize("orientation", range(2, 9))
def test_yolo_is_in_the_frame_of_a_viewer(tmp_path: Path, orientation: int) -> None:
    write(tmp_path / "data.yaml", "names: [cat]\n")
    write(tmp_path / "labels" / "train" / "a.txt", [YOLO_LINE])
    width, height = (48, 64) if orientation >= 5 else (64, 48)
    image(tmp_path / "images" / "train" / "a.jpg", width, height, orientation)
    assert frames(tmp_path) == [(True, 64, 48)]
    (corners,) = load_split(tmp_path).samples[0].boxes.tolist()
    assert corners == pytest.approx([4, 6, 24, 16])
    assert frames(tmp_path, "stored") == [(False, width, height)]


@pytest.mark.parametrize(
    ("size", "orientation", "expected"),
    [
        ("", TURNED, (True, 64, 48)),
        (SIZE.format(64, 48), TURNED, (True, 64, 48)),
        (SIZE.format(48, 64), TURNED, (False, 48, 64)),
        (SIZE.format(0, 0), TURNED, (True, 64, 48)),
        (SIZE.format(48, 64), HALF, (True, 48, 64)),
    ],
)
def test_voc_is_in_the_frame_of_a_viewer_unless_its_size_tells(
    tmp_path: Path, size: str, orientation: int, expected: tuple[bool, int, int]
) -> None:
    """The stored size is 48 x 64."""
    write(tmp_path / "ImageSets" / "Main" / "train.txt", ["a"])
    write(tmp_path / "Annotations" / "a.xml", voc("a.jpg", size=size))
    image(tmp_path / "JPEGImages" / "a.jpg", 48, 64, orientation)
    assert frames(tmp_path) == [expected]


def test_the_text_format_is_in_stored_pixels(tmp_path: Path) -> None:
    write(tmp_path / "classes.txt", ["cat"])
    write(tmp_path / "train.txt", ["a.jpg 6,4,16,24,1"])
    image(tmp_path / "images" / "a.jpg", orientation=TURNED)
    assert frames(tmp_path) == [(False, 64, 48)]


def test_mindrecord_keeps_the_frame_and_the_ids(tmp_path: Path) -> None:
    entries = {
        "text": {"file_name": "0.jpg", "width": 48, "height": 64},
        2**70: {"file_name": "1.jpg", "width": 64, "height": 48},
    }
    given = [box("text"), box(2**70)]
    write(tmp_path / "set" / "annotations" / "instances_train.json", coco(entries, given))
    image(tmp_path / "set" / "train" / "0.jpg", orientation=TURNED)
    image(tmp_path / "set" / "train" / "1.jpg", orientation=TURNED)
    split = load_split(tmp_path / "set")
    pack({"train": split}, tmp_path / "record", shards=1, progress=False)
    record = load_split(tmp_path / "record", reading=Reading(exif="stored"))  # decided already
    assert [s.image_id for s in record.samples] == ["text", 2**70]
    assert [s.upright for s in record.samples] == [True, False]
    for sample, packed in zip(split.samples, record.samples, strict=True):
        assert (sample.read() == packed.read()).all()
    assert digest(record) == digest(split)


def test_the_digest_tells_the_frames_apart(tmp_path: Path) -> None:
    """A turn by 180 degrees leaves the size as it is."""
    folder = write_coco(tmp_path, [(64, 48, HALF)])
    digests = {digest(load_split(folder, reading=Reading(e))) for e in ("stored", "upright")}
    assert len(digests) == 2
    image(folder / "train" / "0.jpg")
    digests = {digest(load_split(folder, reading=Reading(e))) for e in ("stored", "upright")}
    assert len(digests) == 1
