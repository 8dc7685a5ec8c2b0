"""The model zoo's text format: ``<split>.txt``, images in ``images/``, ``classes.txt``.

Each line is the file name of an image, then its boxes as ``y1,x1,y2,x2,class`` in px. The order
is that of the model zoo's nas-fpn ``src/dataset.py``, where ``_data_aug`` divides the first and
third number by the height. Class 1 is the first line of ``classes.txt``, since class 0 is the
background (``src/box_utils.py``). If the first line is ``background``, as in the model zoo's
``coco_classes``, it is class 0 and left out. The format has no crowd regions. Boxes of images with
an EXIF orientation are in the stored pixels, as the model zoo reads them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasfpn_runtime.data.classes import make_classes
from nasfpn_runtime.data.entry import numbers
from nasfpn_runtime.data.lists import no_split, read_lines, read_names, visible
from nasfpn_runtime.data.reader import Reader
from nasfpn_runtime.data.samples import Listing
from nasfpn_runtime.data.units import CORNERS
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.recipe.settings import Reading

_NAMES = "classes.txt"


def recognises(folder: Path) -> bool:
    """Return whether the folder has the files of this format."""
    return (folder / _NAMES).exists()


def splits(folder: Path) -> tuple[str, ...]:
    """Return the names of the splits."""
    return tuple(p.stem for p in visible(folder.glob("*.txt"), folder) if p.name != _NAMES)


def read(folder: Path, split: str, reading: Reading) -> Listing:
    """Read a split. The id of an image is the number of its line, from 1.

    The images are in ``<split>/`` if there is such a folder, otherwise in ``images/``.

    Raises:
        DataError: a file is missing, or there are no names.
    """
    file = folder / f"{split}.txt"
    if not file.exists():
        raise no_split(split, folder, splits(folder))
    names = read_names(folder / _NAMES)
    names = names[1:] if names and names[0].lower() == "background" else names
    if not names:
        raise DataError(
            "categories must be one or more besides the background, got none "
            f"(at {folder / _NAMES})"
        )
    classes = make_classes(list(enumerate(names, start=1)), reading, folder / _NAMES)
    pictures = folder / (split if (folder / split).is_dir() else "images")
    reader = Reader(pictures, classes.label_of, reading)
    first: dict[str, int] = {}
    for number, line in enumerate(read_lines(file), start=1):
        if line:
            name, boxes = _divided(reader, line)
            key = first.setdefault(name, number)
            if reader.add_picture(f"line {number}", {"id": key, "file_name": name}):
                for index, box in enumerate(boxes):
                    entry, corners = _annotation(box, key)
                    reader.add_annotation(f"line {number} box[{index}]", entry, corners)
    return reader.listing(file, classes, CORNERS)


def _divided(reader: Reader, line: str) -> tuple[str, list[str]]:
    """Return the file name and the boxes of a line.

    The name is the first word, or the first words that are the name of a file with blanks.
    """
    words = line.split(" ")
    for end in range(1, len(words) + 1):
        name = " ".join(words[:end])
        if reader.images.find(name) is not None:
            return name, " ".join(words[end:]).split()
    name, *boxes = line.split()
    return name, boxes


def _annotation(word: str, key: int) -> tuple[dict[str, Any], list[float] | None]:
    """Return a box in COCO's terms, and its corners as written."""
    parts = word.split(",")
    values = numbers(list(parts)) if len(parts) == 5 else None
    if values is None:
        return {"image_id": key, "category_id": 1, "bbox": [word]}, None
    y1, x1, y2, x2, label = values
    entry = {"image_id": key, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1]}
    return entry, [x1, y1, x2, y2]
