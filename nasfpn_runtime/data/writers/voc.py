"""Write Pascal VOC folders: ``ImageSets/Main/<split>.txt``, ``Annotations/``, ``JPEGImages/``.

``classes.txt`` has the classes in their order. Pixels are counted from 1 and a box includes its
last row and column (``data/voc.py``). Coordinates that are no integers are written with up to
nine decimals, although many programs read integers only. A crowd region is an object marked
``difficult``.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.data.samples import Sample
from nasfpn_runtime.data.writers.common import Annotation, by_image, check_classes, exact

PICTURES = "JPEGImages"
BY_STEM = True
# Lines of lists are read without the blanks around them.
UNFIT = re.compile(r"^\s+|\s+(?=\.[^.]*$)|\s+$|\\|[^ -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FRAME = "upright"  # of the boxes, where the size of an image does not tell
SUFFIXES: tuple[str, ...] = ()

_DECIMALS = 9  # of a px: the sum of two floats ends in noise, such as 25.990000000000002
_NOT_XML = re.compile(r"[^ -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check(splits: dict[str, Split]) -> None:
    """Check that the classes can be the lines of ``classes.txt``.

    Raises:
        DataError: see :func:`check_classes`.
    """
    check_classes(splits, "VOC", _fits)


def _fits(name: str) -> bool:
    lines = name.splitlines() == [name.strip()] and not name.startswith("\ufeff")
    return lines and not _NOT_XML.search(name)


def write_split(folder: Path, name: str, split: Split, names: list[str]) -> None:
    """Write the list of a split and a file for each of its images."""
    for part in ("Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    stems = [Path(picture).stem for picture in names]
    lines = "".join(f"{stem}\n" for stem in stems)
    (folder / "ImageSets" / "Main" / f"{name}.txt").write_text(lines, encoding="utf-8")
    for (sample, listed), picture, stem in zip(by_image(split), names, stems, strict=True):
        root = _annotation(sample, picture)
        for each in listed:
            _add_object(root, split.categories[each.label], each)
        ElementTree.indent(root)
        text = ElementTree.tostring(root, encoding="unicode") + "\n"
        (folder / "Annotations" / f"{stem}.xml").write_text(text, encoding="utf-8")


def finish(folder: Path, splits: dict[str, Split]) -> None:
    """Write the classes."""
    categories = next(iter(splits.values())).categories
    lines = "".join(f"{category}\n" for category in categories)
    (folder / "classes.txt").write_text(lines, encoding="utf-8")


def _annotation(sample: Sample, picture: str) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    _add(root, "filename", picture)
    size = ElementTree.SubElement(root, "size")
    _add(size, "width", sample.width)
    _add(size, "height", sample.height)
    return root


def _add_object(root: ElementTree.Element, category: str, annotation: Annotation) -> None:
    x, y, width, height = annotation.box
    item = ElementTree.SubElement(root, "object")
    _add(item, "name", category)
    _add(item, "difficult", int(annotation.crowd))
    box = ElementTree.SubElement(item, "bndbox")
    corners = (x + 1, y + 1, x + width, y + height)
    for corner, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
        _add(box, corner, exact(round(value, _DECIMALS)))


def _add(parent: ElementTree.Element, name: str, value: object) -> None:
    ElementTree.SubElement(parent, name).text = str(value)
