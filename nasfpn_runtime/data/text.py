"""The model zoo's text format: ``<split>.txt``, images in ``images/``, ``classes.txt``.

Each line is the file name of an image, then its boxes as ``y1,x1,y2,x2,class`` in px. The order
is that of the model zoo's nas-fpn ``src/dataset.py``, where ``_data_aug`` divides the first and
third number by the height. Class 1 is the first line of ``classes.txt``, since class 0 is the
background (``src/box_utils.py``). If the first line is ``background``, as in the model zoo's
``coco_classes``, it is class 0 and left out. The format has no crowd regions, and a file name
cannot contain a blank.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasfpn_runtime.data.lists import no_split, picture_size, read_lines, read_names
from nasfpn_runtime.data.reader import Reader, leaves_folder
from nasfpn_runtime.data.samples import Listing
from nasfpn_runtime.errors import DataError

_NAMES = "classes.txt"


def recognises(folder: Path) -> bool:
    """Return whether the folder has the files of this format."""
    return (folder / _NAMES).exists()


def splits(folder: Path) -> tuple[str, ...]:
    """Return the names of the splits."""
    return tuple(sorted(p.stem for p in folder.glob("*.txt") if p.name != _NAMES))


def read(folder: Path, split: str) -> Listing:
    """Read a split. The id of an image is the number of its line, from 1.

    The images are in ``<split>/`` if there is such a folder, otherwise in ``images/``.

    Raises:
        DataError: a file is missing, or there are no names.
    """
    file = folder / f"{split}.txt"
    if not file.exists():
        raise no_split(split, folder, splits(folder))
    names = read_names(folder / _NAMES)
    names = names[1:] if names[0].lower() == "background" else names
    if not names:
        raise DataError(
            "categories must be more than the background, got the background only "
            f"(at {folder / _NAMES})"
        )
    ids = tuple(range(1, len(names) + 1))
    pictures = folder / (split if (folder / split).is_dir() else "images")
    reader = Reader(pictures, {value: value - 1 for value in ids})
    numbers: dict[str, int] = {}
    for number, line in enumerate(read_lines(file), start=1):
        if line:
            name, *boxes = line.split()
            _read_picture(reader, f"line {number}", name, numbers.setdefault(name, number), boxes)
    return Listing(file, ids, names, reader.kept, tuple(reader.faults))


def _read_picture(reader: Reader, where: str, name: str, number: int, boxes: list[str]) -> None:
    path = reader.pictures / name
    size = {"width": 1, "height": 1} if leaves_folder(name) else picture_size(path)
    if reader.add_picture(where, {"id": number, "file_name": name, **size}):
        for index, box in enumerate(boxes):
            reader.add_annotation(f"{where} box[{index}]", _annotation(box, number))


def _annotation(words: str, number: int) -> dict[str, Any]:
    try:
        y1, x1, y2, x2, label = (float(word) for word in words.split(","))
    except ValueError:
        return {"image_id": number, "category_id": 1}  # has no box, which is reported as a fault
    category = int(label) if label.is_integer() else None
    return {"image_id": number, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1]}
