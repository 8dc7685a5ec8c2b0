"""The same drawn images and boxes, written in every format of datasets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.mindrecord_writer import pack
from nasfpn_runtime.data.samples import Fault

NAMES = ("cat", "dog", "owl")
WIDTH, HEIGHT = 64, 32  # powers of two: YOLO's fractions of them are exact decimals

Box = tuple[int, int, int, int, int, bool]  # x1, y1, x2, y2, class from 0, crowd


@dataclass(frozen=True)
class Drawn:
    """An image and its boxes."""

    name: str
    pixels: NDArray[np.uint8]
    boxes: tuple[Box, ...]


def draw(seed: int, crowds: bool = False) -> list[Drawn]:
    """Return six images of noise with none to four boxes; every category occurs."""
    rng = np.random.default_rng(seed)
    drawn = []
    for number in range(6):
        boxes = []
        for index in range(3 if number == 0 else rng.integers(5)):
            x1, y1 = int(rng.integers(WIDTH)), int(rng.integers(HEIGHT))
            x2, y2 = int(rng.integers(x1 + 1, WIDTH + 1)), int(rng.integers(y1 + 1, HEIGHT + 1))
            label = index if number == 0 else int(rng.integers(3))
            boxes.append((x1, y1, x2, y2, label, bool(crowds and number and rng.random() < 0.4)))
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        drawn.append(Drawn(f"{number:06d}", pixels, tuple(boxes)))
    return drawn


def save(folder: Path, drawn: list[Drawn]) -> None:
    """Write the images as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture in drawn:
        Image.fromarray(picture.pixels).save(folder / f"{picture.name}.png")


def write_lines(path: Path, lines: list[str]) -> None:
    """Write a text file and the folders it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_coco(folder: Path, drawn: list[Drawn]) -> None:
    """Write a COCO folder with the split ``train``."""
    save(folder / "train2017", drawn)
    images = [
        {"id": number, "file_name": f"{p.name}.png", "width": WIDTH, "height": HEIGHT}
        for number, p in enumerate(drawn, start=1)
    ]
    rows = [(image, box) for image, p in enumerate(drawn, start=1) for box in p.boxes]
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": label + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": int(crowd),
        }
        for number, (image, (x1, y1, x2, y2, label, crowd)) in enumerate(rows)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES, start=1)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    write_lines(folder / "annotations" / "instances_train2017.json", [json.dumps(data)])


def voc_object(box: Box) -> str:
    """Return a box as an ``<object>`` of a VOC annotation."""
    x1, y1, x2, y2, label, crowd = box
    corners = zip(("xmin", "ymin", "xmax", "ymax"), (x1 + 1, y1 + 1, x2, y2), strict=True)
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
    return (
        f"<object><name>{NAMES[label]}</name><difficult>{int(crowd)}</difficult>"
        f"<bndbox>{inner}</bndbox></object>"
    )


def write_voc(folder: Path, drawn: list[Drawn]) -> None:
    """Write a VOC folder with the split ``train``."""
    save(folder / "JPEGImages", drawn)
    write_lines(folder / "ImageSets" / "Main" / "train.txt", [p.name for p in drawn])
    write_lines(folder / "ImageSets" / "Main" / "cat_train.txt", [f"{p.name} -1" for p in drawn])
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    for p in drawn:
        objects = "".join(map(voc_object, p.boxes))
        text = f"<annotation><filename>{p.name}.jpg</filename>{size}{objects}</annotation>"
        write_lines(folder / "Annotations" / f"{p.name}.xml", [text])


def write_yolo(folder: Path, drawn: list[Drawn]) -> None:
    """Write a YOLO folder with the split ``train``."""
    save(folder / "images" / "train", drawn)
    write_lines(folder / "data.yaml", ["train: ../images/train", f"names: {json.dumps(NAMES)}"])
    for p in drawn:
        lines = [
            f"{label} {(x1 + x2) / 2 / WIDTH} {(y1 + y2) / 2 / HEIGHT} "
            f"{(x2 - x1) / WIDTH} {(y2 - y1) / HEIGHT}"
            for x1, y1, x2, y2, label, _ in p.boxes
        ]
        if lines:  # an image without boxes may have no file
            write_lines(folder / "labels" / "train" / f"{p.name}.txt", lines)


def write_text(folder: Path, drawn: list[Drawn]) -> None:
    """Write a folder of the text format with the split ``train``."""
    save(folder / "images", drawn)
    write_lines(folder / "classes.txt", ["background", *NAMES])
    lines = [
        " ".join(
            [f"{p.name}.png", *(f"{y1},{x1},{y2},{x2},{c + 1}" for x1, y1, x2, y2, c, _ in p.boxes)]
        )
        for p in drawn
    ]
    write_lines(folder / "train.txt", lines)


WRITERS: dict[str, Callable[[Path, list[Drawn]], None]] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "text": write_text,
}


# What to copy, so that a folder written by one of these has a split val, too.
COPIES = {
    "coco": {
        "train2017": "val2017",
        "annotations/instances_train2017.json": "annotations/instances_val2017.json",
    },
    "voc": {"ImageSets/Main/train.txt": "ImageSets/Main/val.txt"},
    "yolo": {"images/train": "images/val", "labels/train": "labels/val"},
    "text": {"train.txt": "val.txt"},
}


def add_val(folder: Path, kind: str) -> Path:
    """Add a split ``val`` with the images of ``train`` to a folder of a format; return it."""
    for source, target in COPIES[kind].items():
        copy = shutil.copytree if (folder / source).is_dir() else shutil.copy
        copy(folder / source, folder / target)
    return folder


def make(folder: Path, kind: str, drawn: list[Drawn]) -> Path:
    """Write a dataset of a format; ``mindrecord-<format>`` packs one of that format."""
    packed, _, source = kind.rpartition("-")
    WRITERS[source](folder / kind, drawn)
    if packed:
        made = load_split(folder / kind)
        pack({"train": made}, folder / f"{kind}-packed", shards=3, progress=False)
        return folder / f"{kind}-packed"
    return folder / kind


def add_line(path: Path, line: str) -> None:
    """Append a line to a text file."""
    with path.open("a") as file:
        file.write(f"{line}\n")


def assert_one_fault(folder: Path, change: Callable[[Path], None], fault: str) -> Fault:
    """Change a dataset so that its split ``train`` has one fault, and leaves the rest as it is.

    Args:
        fault: kind of the fault and the start of where it is, ``kind @ where``.
    """
    before = load_split(folder)
    assert before.faults == ()
    change(folder)
    split = load_split(folder)
    (only,) = split.faults
    kind, _, where = fault.partition(" @")
    assert only.kind == kind
    assert only.where.startswith(where.strip())
    assert only.action == ("clipped" if "partly" in kind else "dropped")
    boxes = [sum(len(s.boxes) for s in each.samples) for each in (before, split)]
    assert boxes[1] == boxes[0] + (only.action == "clipped")
    return only
