"""Check the entries of a dataset one by one: keep the sound ones, record the others as faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from nasfpn_runtime.data.classes import Classes
from nasfpn_runtime.data.entry import Id, box_of, flag, identifier, length, number, other_spelling
from nasfpn_runtime.data.frames import STORED, Frames, Size
from nasfpn_runtime.data.locate import ImageFolder, image_name, leaves_folder
from nasfpn_runtime.data.samples import Collection, Fault, Listing, corners_inside
from nasfpn_runtime.data.units import check_boxes
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.recipe.settings import Reading
from search_space.errors import value_text
from search_space.names import shown

# Annotations have two decimals, so rounding alone may put a box this far outside, in px.
ROUNDING = 0.05

_LONG = 10**15  # ids from this on are shortened in messages

_T = TypeVar("_T")


class Reader:
    """Check images and annotations in the order of the file and keep the sound ones.

    Entries are as in COCO's ``images`` and ``annotations``. The size of an image may be missing;
    it is then that of the file. ``where`` names the entry in a fault.

    Args:
        folder: folder of the image files.
        label_of: class number of each category id.
        reading: how the dataset is read.
        convention: ``stored`` or ``upright``: the frame of boxes where sizes do not tell it.

    Attributes:
        kept: the images and annotations that can be used.
        faults: what was wrong with the others.
        notes: what was read in another way than it is written.
    """

    def __init__(
        self,
        folder: Path,
        label_of: Mapping[Id, int],
        reading: Reading,
        convention: str = STORED,
    ) -> None:
        self.label_of = label_of
        self.images = ImageFolder(folder)
        self.frames = Frames(reading.exif, convention)
        self.kept = Collection()
        self.faults: list[Fault] = []
        self.notes: list[Fault] = []
        self._indices: dict[Id, int | None] = {}  # by image id; None for a dropped image
        self._annotation_ids: set[Id] = set()
        self._names: dict[Path, str] = {}  # of the images so far, by file
        self._boxes: list[tuple[int, Sequence[float]]] = []  # as written, with their image

    def survey(self, entries: list[Any]) -> None:
        """Look at all images before the first is added: their sizes tell the frame of the set."""
        for entry in entries:
            path = self.images.find(image_name(entry)) if isinstance(entry, dict) else None
            if path is not None:
                with suppress(DataError):  # a fault when it is added
                    self.frames.look(path, _size(entry))

    def add_picture(self, where: str, entry: Any) -> bool:
        """Keep an image, or record what is wrong with it; return whether it was kept."""
        key = identifier(entry.get("id")) if isinstance(entry, dict) else None
        if key is None:
            self.fault("image without an id", where)
            return False
        where = f"{where} (id {_text(key)})"
        if key in self._indices:
            self.fault("image id repeated", where)
            return False
        self._indices[key] = None
        kind, got = self._keep_picture(key, where, entry)
        if kind:
            self.fault(kind, where, got=got)
        return not kind

    def add_annotation(
        self, where: str, entry: Any, written: Sequence[float] | None = None
    ) -> None:
        """Keep an annotation, or record what is wrong with it.

        Args:
            written: the four numbers of the box in the file, where they are not ``bbox``.
        """
        if not isinstance(entry, dict):
            self.fault("annotation malformed", where, got=value_text(entry))
            return
        key = identifier(entry.get("id"))
        named = "" if key is None else f"id {_text(key)}, "  # most formats have no ids
        where = f"{where} ({named}image {_text(entry.get('image_id'))})"
        kind, got = self._keep_annotation(where, entry, written)
        if kind:
            self.fault(kind, where, got=got)
        elif key is not None:
            if key in self._annotation_ids:
                self.fault("annotation id repeated", where, "kept")
            self._annotation_ids.add(key)

    def fault(self, kind: str, where: str, action: str = "dropped", got: str = "") -> None:
        """Record a fault.

        Args:
            got: the value at fault.
        """
        self.faults.append(Fault(kind, where, action, got))

    def note(self, kind: str, where: str, action: str) -> None:
        """Record what was read in another way than it is written."""
        self.notes.append(Fault(kind, where, action))

    def listing(self, file: Path, classes: Classes, units: str) -> Listing:
        """Return what was kept and what was recorded.

        Args:
            file: where it was read from.
            units: what the numbers of the boxes are in this format, see ``units.check_boxes``.

        Raises:
            DataError: all boxes look like something else.
        """
        drafts = self.kept.drafts
        boxes = [(drafts[i].width, drafts[i].height, box) for i, box in self._boxes]
        check_boxes(boxes, units, file)
        faults, notes = tuple(self.faults), tuple(self.notes)
        return Listing(file, classes.ids, classes.names, self.kept, faults, notes)

    def _keep_picture(self, key: Id, where: str, entry: dict[str, Any]) -> tuple[str, str]:
        """Keep an image; return the kind of its fault and the value at fault, if it has one."""
        name, annotated = image_name(entry), _size(entry)
        if not name:
            return "image without a file name", ""
        if annotated is None and not _is_without_size(entry):
            given = [entry.get("width"), entry.get("height")]
            return "image without width and height", value_text(given)
        path = self.images.find(name)
        if path is None:
            outside = leaves_folder(name)
            kind = "file name outside the image folder" if outside else "image file missing"
            return kind, "" if name in where else shown(name)
        other = self._names.setdefault(path, name)
        if other != name:
            return "image file of another image", f"{shown(name)} and {shown(other)}"
        try:
            frame = self.frames.of(path, annotated)
        except DataError:
            return "image file unreadable", shown(name)
        if annotated not in (None, frame.size):
            return "image size not as annotated", f"{_sides(annotated)} for {_sides(frame.size)}"
        if not self.images.is_exact(name):
            if path.name in name:
                self.note("file name with other folders", where, "found by its last parts")
            else:
                self.note("file name in another spelling than that of the file", where, "found")
        if frame.turned:
            of = "a viewer shows" if frame.upright else "is stored"
            self.note("image with an EXIF orientation", where, f"boxes are in the frame that {of}")
        height, width = frame.size
        upright = frame.turned and frame.upright
        self._indices[key] = self.kept.add(key, path, width, height, upright=upright)
        return "", ""

    def _keep_annotation(
        self, where: str, entry: dict[str, Any], written: Sequence[float] | None
    ) -> tuple[str, str]:
        """Keep an annotation; return the kind of its fault and the value at fault, if any."""
        known, index = _look_up(self._indices, entry.get("image_id"))
        if not known:
            return "annotation of an unknown image", ""
        if index is None:
            return "annotation of a dropped image", ""
        known, label = _look_up(self.label_of, entry.get("category_id"))
        if label is None:
            return "category unknown", value_text(entry.get("category_id"))
        box, outlined = box_of(entry)
        if box is None:
            return "box is not four finite numbers", value_text(entry.get("bbox"))
        crowd = flag(entry.get("iscrowd"))
        if crowd is None:
            return "iscrowd is not 0 or 1", value_text(entry.get("iscrowd"))
        self._boxes.append((index, box if written is None else written))
        if box[2] <= 0 or box[3] <= 0:
            return "box without area", value_text(box)
        draft = self.kept.drafts[index]
        x1, y1, x2, y2 = corners_inside(box, draft.width, draft.height)
        if x1 >= x2 or y1 >= y2:
            return "box outside the image", value_text(box)
        if outlined:
            self.note("annotation without a box", where, "box around its outline")
        x, y, w, h = box
        if max(-x, -y, x + w - draft.width, y + h - draft.height) > ROUNDING:
            self.fault("box partly outside the image", where, "clipped")
        area = number(entry.get("area"))
        if area is None or area < 0:
            if entry.get("area") is not None:
                got = value_text(entry["area"])
                self.fault("area is not a number from 0", where, "area of the box taken", got)
            area = w * h
        self.kept.annotate(index, label, box, area, crowd)
        return "", ""


def _look_up(table: Mapping[Id, _T], value: object) -> tuple[bool, _T | None]:
    """Return whether there is an entry for an id, or for its other spelling, and the entry."""
    key = identifier(value)
    if key is not None and key not in table:
        key = other_spelling(key)
    return (True, table[key]) if key is not None and key in table else (False, None)


def _size(entry: dict[str, Any]) -> Size | None:
    height, width = length(entry.get("height")), length(entry.get("width"))
    return None if height is None or width is None else (height, width)


def _is_without_size(entry: dict[str, Any]) -> bool:
    """Return whether an entry has no size: missing, null, or zero, as some tools write."""
    return all(entry.get(side) is None or number(entry[side]) == 0 for side in ("height", "width"))


def _sides(size: Size | None) -> str:
    return "" if size is None else f"{size[1]} x {size[0]}"


def _text(value: object) -> str:
    if type(value) is int and abs(value) < _LONG:  # as value_text, but much faster
        return str(value)
    return shown(value) if isinstance(value, str) else value_text(value)
