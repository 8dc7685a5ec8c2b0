"""Check the entries of a dataset one by one: keep the sound ones, record the others as faults."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from nasfpn_runtime.data.samples import Collection, Fault, corners_inside
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.image import stored_size

# Annotations have two decimals, so rounding alone may put a box this far outside, in px.
ROUNDING = 0.05


class Reader:
    """Check images and annotations in the order of the file and keep the sound ones.

    Entries are as in COCO's ``images`` and ``annotations``. ``where`` names the entry in a
    fault.

    Args:
        pictures: folder of the image files.
        label_of: class number of each category id.

    Attributes:
        kept: the images and annotations that can be used.
        faults: what was wrong with the others.
    """

    def __init__(self, pictures: Path, label_of: dict[int, int]) -> None:
        self.pictures, self.label_of = pictures, label_of
        self.kept = Collection()
        self.faults: list[Fault] = []
        self._indices: dict[int, int | None] = {}  # by image id; None for a dropped image
        self._annotation_ids: set[int] = set()

    def add_picture(self, where: str, entry: Any) -> bool:
        """Keep an image, or record what is wrong with it; return whether it was kept."""
        number = entry.get("id") if isinstance(entry, dict) else None
        if not is_id(number):
            self.fault("image without an id", where)
            return False
        where = f"{where} (id {number})"
        if number in self._indices:
            self.fault("image id repeated", where)
            return False
        kind = self._picture_fault(entry)
        if kind is not None:
            self._indices[number] = None
            self.fault(kind, where)
            return False
        path = self.pictures / entry["file_name"]
        self._indices[number] = self.kept.add(number, path, entry["width"], entry["height"])
        return True

    def add_annotation(self, where: str, entry: Any) -> None:
        """Keep an annotation, or record what is wrong with it."""
        if not isinstance(entry, dict):
            self.fault("annotation malformed", where)
            return
        number = entry.get("id")
        named = "" if number is None else f"id {number}, "  # most formats have no ids
        where = f"{where} ({named}image {entry.get('image_id')})"
        kind = self._annotation_fault(entry)
        if kind is not None:
            self.fault(kind, where)
            return
        if is_id(number):
            if number in self._annotation_ids:
                self.fault("annotation id repeated", where, "kept")
            self._annotation_ids.add(number)
        self._keep(where, entry)

    def fault(self, kind: str, where: str, action: str = "dropped") -> None:
        """Record a fault."""
        self.faults.append(Fault(kind, where, action))

    def _keep(self, where: str, entry: dict[str, Any]) -> None:
        index = self._indices[entry["image_id"]]
        assert index is not None  # checked by _annotation_fault
        draft = self.kept.drafts[index]
        x, y, w, h = box = [float(value) for value in entry["bbox"]]
        if max(-x, -y, x + w - draft.width, y + h - draft.height) > ROUNDING:
            self.fault("box partly outside the image", where, "clipped")
        label = self.label_of[entry["category_id"]]
        area = entry.get("area")
        area = float(area) if _is_number(area) else w * h
        self.kept.annotate(index, label, box, area, bool(entry.get("iscrowd")))

    def _picture_fault(self, entry: dict[str, Any]) -> str | None:
        name, width, height = (entry.get(key) for key in ("file_name", "width", "height"))
        if not isinstance(name, str) or not name:
            return "image without a file name"
        if not is_id(width) or not is_id(height) or width < 1 or height < 1:
            return "image without width and height"
        if leaves_folder(name):
            return "file name outside the image folder"
        path = self.pictures / name
        if not os.path.isfile(path):  # unlike Path.is_file, False if the name is too long
            return "image file missing"
        try:
            size = stored_size(path)
        except DataError:
            return "image file unreadable"
        return None if size == (height, width) else "image size not as annotated"

    def _annotation_fault(self, entry: dict[str, Any]) -> str | None:
        image, category, box = (entry.get(k) for k in ("image_id", "category_id", "bbox"))
        if not is_id(image) or image not in self._indices:
            return "annotation of an unknown image"
        index = self._indices[image]
        if index is None:
            return "annotation of a dropped image"
        if not is_id(category) or category not in self.label_of:
            return "category unknown"
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            return "box is not four finite numbers"
        if box[2] <= 0 or box[3] <= 0:
            return "box without area"
        draft = self.kept.drafts[index]
        x1, y1, x2, y2 = corners_inside(box, draft.width, draft.height)
        return None if x1 < x2 and y1 < y2 else "box outside the image"


def leaves_folder(name: str) -> bool:
    """Return whether a file name may leave its folder: it is absolute or contains ``..``."""
    return PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts


def is_id(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number that a float can represent."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
