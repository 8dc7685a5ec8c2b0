"""Pascal VOC datasets: an XML file for each image; see ``voc_files`` for the layouts.

Pixels are counted from 1 and a box includes its last row and column, as in the development kit.
There, a box over the whole image is from 1, 1 to its width and height; here it is from 0, 0 to
the same (as in detectron2 ``data/datasets/pascal_voc.py``). An object marked ``difficult`` is a
crowd region, as in mmdetection ``tools/dataset_converters/pascal_voc.py``: it is not trained on,
and in scoring a detection inside it counts neither as correct nor as wrong. Categories are the
lines of ``classes.txt`` or, without that file, the names in all XML files, sorted, which is
the usual order of VOC's own twenty.

An object without ``bndbox`` has the box around its ``polygon``. Boxes of images with an EXIF
orientation are in the frame that a viewer shows, unless the annotated sizes tell otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from nasfpn_runtime.data.classes import Classes, make_classes
from nasfpn_runtime.data.entry import around, flag, number, numbers
from nasfpn_runtime.data.frames import UPRIGHT
from nasfpn_runtime.data.lists import no_split, read_names
from nasfpn_runtime.data.locate import leaves_folder
from nasfpn_runtime.data.reader import Reader
from nasfpn_runtime.data.samples import Listing
from nasfpn_runtime.data.units import CORNERS
from nasfpn_runtime.data.voc_files import Files, find_splits, image_file
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.recipe.settings import Reading
from search_space.names import printable

MOST_BYTES = 1 << 22  # largest size of an annotation file; those of VOC have a few thousand
_ROOT = "annotation"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def recognises(folder: Path) -> bool:
    """Return whether the folder has the files of this format."""
    return bool(find_splits(folder))


def splits(folder: Path) -> tuple[str, ...]:
    """Return the names of the splits."""
    return tuple(find_splits(folder))


def read(folder: Path, split: str, reading: Reading) -> Listing:
    """Read a split. The id of an image is its position in the split, from 1.

    Raises:
        DataError: a file or folder is missing, or there is no category.
    """
    found = find_splits(folder)
    if split not in found:
        raise no_split(split, folder, found)
    files = found[split]
    names = files.names()
    classes = _classes(folder, found, reading)
    reader = Reader(files.images(names), classes.label_of, reading, UPRIGHT)
    ids = {name: index for index, name in enumerate(dict.fromkeys(names), start=1)}
    entries = [_read_file(reader, files.annotations, name, ids[name]) for name in names]
    reader.survey([image for image, _ in entries])
    known = dict(zip(classes.names, classes.ids, strict=True))
    for name, (image, objects) in zip(names, entries, strict=True):
        if image is None:
            _record_unreadable(reader, name)
        elif reader.add_picture(f"{name}.xml", image):
            for index, item in enumerate(objects):
                entry = {**item, "image_id": ids[name], "category_id": known.get(item["name"])}
                reader.add_annotation(f"{name}.xml object[{index}]", entry, item["corners"])
    return reader.listing(files.listing, classes, CORNERS)


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


def _classes(folder: Path, found: dict[str, Files], reading: Reading) -> Classes:
    """Return the classes of all splits. Their ids are counted from 1."""
    file = folder / "classes.txt"
    if file.exists():
        return make_classes(list(enumerate(read_names(file), start=1)), reading, file)
    names: set[str] = set()
    reason = "no object"
    for path in sorted({path for files in found.values() for path in files.xml_files()}):
        try:
            root = parse(path)
        except DataError as error:  # a fault of the split that lists it
            reason = f"an unreadable file: {error}"
            continue
        names |= {_text(item, "name") for item in root.iter("object")}
        if root.tag != _ROOT:
            reason = f"<{printable(root.tag)}> in {path.name}, which is another format than VOC's"
    names.discard("")
    if not names:
        where = next(iter(found.values())).annotations
        raise DataError(f"dataset must have categories, got {reason} (at {where})")
    return make_classes(list(enumerate(sorted(names), start=1)), reading, folder)


def _read_file(
    reader: Reader, annotations: Path, name: str, key: int
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Return the image of an XML file as an entry, and its objects; None if it cannot be read."""
    if leaves_folder(name):
        return None, []
    try:
        root = parse(annotations / f"{name}.xml")
    except DataError:
        return None, []
    picture = image_file(reader.images.folder, name) or _text(root, "filename") or f"{name}.jpg"
    sides = {side: _text(root, f"size/{side}") or None for side in ("width", "height")}
    if 0 in map(number, sides.values()):  # as some tools write, for one side or both
        sides = dict.fromkeys(sides)
    return {"id": key, "file_name": picture, **sides}, [_object(o) for o in root.findall("object")]


def _record_unreadable(reader: Reader, name: str) -> None:
    outside = leaves_folder(name)
    kind = "file name outside the image folder" if outside else ""
    reader.fault(kind or "annotation file missing or unreadable", f"{name}.xml")


def _object(item: ElementTree.Element) -> dict[str, Any]:
    """Return an object in COCO's terms, with its name and its corners as written."""
    box = item.find("bndbox")
    corners = None if box is None else numbers([_text(box, corner) for corner in _CORNERS])
    entry: dict[str, Any] = {
        "name": _text(item, "name"),
        "iscrowd": flag(_text(item, "difficult")) or False,
    }
    outline = around(_points(item)) if box is None else None
    if outline is not None:
        x, y, w, h = outline
        corners = [x, y, x + w, y + h]
        entry["segmentation"] = [[x - 1, y - 1, x + w, y - 1, x + w, y + h, x - 1, y + h]]
    elif corners is not None:
        x1, y1, x2, y2 = corners
        entry["bbox"] = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
    return {**entry, "corners": corners}


def _points(item: ElementTree.Element) -> list[float]:
    """Return the coordinates of a polygon, which are x1, y1, x2, ... or pairs of x and y."""
    nodes = [node for node in item.iterfind("polygon//*") if node.tag[:1] in ("x", "y")]
    return numbers([(node.text or "").strip() for node in nodes]) or []


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
