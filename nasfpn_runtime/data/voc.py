"""Pascal VOC folders: ``ImageSets/Main/<split>.txt``, ``Annotations/``, ``JPEGImages/``.

Pixels are counted from 1 and a box includes its last row and column, as in the development kit.
There, a box over the whole image is from 1, 1 to its width and height; here it is from 0, 0 to
the same (as in detectron2 ``data/datasets/pascal_voc.py``). An object marked ``difficult`` is a
crowd region, as in mmdetection ``tools/dataset_converters/pascal_voc.py``: it is not trained on,
and in scoring a detection inside it counts neither as correct nor as wrong. Categories are the
lines of ``classes.txt`` or, without that file, all names in ``Annotations/``, sorted, which is
the usual order of VOC's own twenty.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from nasfpn_runtime.data.lists import PICTURES, no_split, picture_size, read_lines, read_names
from nasfpn_runtime.data.reader import Reader, leaves_folder
from nasfpn_runtime.data.samples import Listing
from nasfpn_runtime.errors import DataError

MOST_BYTES = 1 << 22  # largest size of an annotation file; those of VOC have a few thousand
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_LISTS = Path("ImageSets", "Main")


def recognises(folder: Path) -> bool:
    """Return whether the folder has the files of this format."""
    return (folder / "Annotations").is_dir()


def splits(folder: Path) -> tuple[str, ...]:
    """Return the names of the splits, without lists of one class such as ``cat_train.txt``."""
    stems = sorted(path.stem for path in (folder / _LISTS).glob("*.txt"))
    return tuple(stem for stem in stems if stem.rpartition("_")[2] not in stems or "_" not in stem)


def read(folder: Path, split: str) -> Listing:
    """Read a split. The id of an image is its position in the list, from 1.

    Raises:
        DataError: a file or folder is missing, or there is no category.
    """
    file = folder / _LISTS / f"{split}.txt"
    if not file.exists():
        raise no_split(split, folder, splits(folder))
    names = [line.split()[0] for line in read_lines(file) if line]
    categories = _categories(folder)
    ids = tuple(range(1, len(categories) + 1))
    reader = Reader(folder / "JPEGImages", {value: value - 1 for value in ids})
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}
    for name in names:
        _read_picture(reader, folder, name, numbers[name], dict(zip(categories, ids, strict=True)))
    return Listing(file, ids, categories, reader.kept, tuple(reader.faults))


def parse(path: Path) -> ElementTree.Element:
    """Return the root of an annotation file.

    A document type is refused, since it can define entities that expand without limit.

    Raises:
        DataError: the file is missing, too large, has a document type or is not XML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise DataError(
                f"annotation file must have at most {MOST_BYTES} bytes, got more (at {path})"
            )
        parser = ElementTree.XMLParser(target=_Tree())
        parser.feed(content)
        root: ElementTree.Element = parser.close()
    except (OSError, ValueError, LookupError, ElementTree.ParseError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot read annotation file as XML: {error} (at {path})") from error
    return root


class _Tree(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it has a document type")


def _categories(folder: Path) -> tuple[str, ...]:
    if (folder / "classes.txt").exists():
        return read_names(folder / "classes.txt")
    names: set[str] = set()
    for path in (folder / "Annotations").glob("*.xml"):
        try:
            names |= {_text(item, "name") for item in parse(path).iter("object")}
        except DataError:
            continue  # reported as a fault of the split that lists it
    names.discard("")
    if not names:
        raise DataError(
            f"dataset must have categories, got no object (at {folder / 'Annotations'})"
        )
    return tuple(sorted(names))


def _read_picture(
    reader: Reader, folder: Path, name: str, number: int, categories: dict[str, int]
) -> None:
    where = f"{name}.xml"
    if leaves_folder(name):
        reader.fault("file name outside the image folder", where)
        return
    try:
        root = parse(folder / "Annotations" / where)
    except DataError:
        reader.fault("annotation file missing or unreadable", where)
        return
    picture = _picture_name(folder / "JPEGImages", name, _text(root, "filename"))
    size: dict[str, Any] = {side: _number(root, f"size/{side}") for side in ("width", "height")}
    if not all(size.values()):  # missing, or zero as some tools write
        size = {} if leaves_folder(picture) else {**picture_size(folder / "JPEGImages" / picture)}
    # Infinite and nan values stay as they are, and are reported as a fault.
    size = {side: int(v) if math.isfinite(v) else v for side, v in size.items()}
    entry = {"id": number, "file_name": picture, **size}
    if reader.add_picture(where, entry):
        for index, item in enumerate(root.findall("object")):
            reader.add_annotation(f"{where} object[{index}]", _annotation(item, number, categories))


def _annotation(item: ElementTree.Element, number: int, categories: dict[str, int]) -> Any:
    x1, y1, x2, y2 = (_number(item, f"bndbox/{corner}") for corner in _CORNERS)
    box = None
    if x1 is not None and y1 is not None and x2 is not None and y2 is not None:
        box = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
    return {
        "image_id": number,
        "category_id": categories.get(_text(item, "name")),
        "bbox": box,
        "iscrowd": _number(item, "difficult") == 1,
    }


def _picture_name(folder: Path, name: str, filename: str) -> str:
    """Return the file name of an image.

    It is the file with the name of the annotation file, or else the one that the annotation names.
    """
    for suffix in (".jpg", *PICTURES):
        if (folder / f"{name}{suffix}").is_file():
            return f"{name}{suffix}"
    return filename or f"{name}.jpg"


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _number(element: ElementTree.Element, path: str) -> float | None:
    try:
        return float(_text(element, path))
    except ValueError:
        return None
