"""The entries of a data set, in COCO's terms, checked one by one, as samples and faults."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.boxes import Boxes
from nasfpn_runtime.pictures.image import stored_size

if TYPE_CHECKING:
    from nasfpn_runtime.data.mindrecord import Row

# Annotations carry two decimals, so that a box may end this far outside by rounding.
ROUNDING = 0.05


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a data set and what was done about it.

    Attributes:
        kind: what is wrong, such as ``box without area``.
        where: the entry in the file, such as ``annotations[17] (id 12, picture 3)``.
        action: ``dropped``, ``clipped`` or ``kept``.
    """

    kind: str
    where: str
    action: str


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture and what is in it.

    Attributes:
        image_id: as in the annotation file.
        path: the picture file, or its row in a MindRecord.
        width, height: stored pixels.
        boxes: (n, 4) float32 xyxy px, inside the picture, each with a positive area.
        labels: (n,) int32 from 0, places in ``Split.categories``.
        crowd: (m, 4) float32 xyxy px: regions of objects that were not annotated one
            by one (``iscrowd``), to be left out of training.
    """

    image_id: int
    path: Path | Row
    width: int
    height: int
    boxes: Boxes
    labels: NDArray[np.int32]
    crowd: Boxes


@dataclass(frozen=True, eq=False)
class Truth:
    """The annotations that were kept, as the file has them: what evaluation compares with.

    Attributes:
        sample: (N,) int64, places in ``Split.samples``.
        label: (N,) int64, classes from 0.
        box: (N, 4) float64, x, y, width, height px, not clipped.
        area: (N,) float64 square px, which decides small, medium or large.
        crowd: (N,) bool.
    """

    sample: NDArray[np.int64]
    label: NDArray[np.int64]
    box: NDArray[np.float64]
    area: NDArray[np.float64]
    crowd: NDArray[np.bool_]


@dataclass
class _Draft:
    """A sample that annotations are still added to."""

    image_id: int
    path: Path | Row
    width: int
    height: int
    boxes: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    crowd: list[list[float]] = field(default_factory=list)

    def sample(self) -> Sample:
        return Sample(
            self.image_id,
            self.path,
            self.width,
            self.height,
            np.array(self.boxes, dtype=np.float32).reshape(-1, 4),
            np.array(self.labels, dtype=np.int32),
            np.array(self.crowd, dtype=np.float32).reshape(-1, 4),
        )


class Collection:
    """Pictures and the annotations that are kept, in the order they are added."""

    def __init__(self) -> None:
        self.drafts: list[_Draft] = []
        self._rows: list[tuple[float, ...]] = []

    def add(self, image_id: int, path: Path | Row, width: int, height: int) -> int:
        """Add a picture and return its place."""
        self.drafts.append(_Draft(image_id, path, width, height))
        return len(self.drafts) - 1

    def annotate(self, place: int, label: int, box: list[float], area: float, crowd: bool) -> None:
        """Add an annotation; its box (x, y, width, height px) has a part inside the picture."""
        draft = self.drafts[place]
        inside = _corners(box, draft.width, draft.height)
        if crowd:
            draft.crowd.append(inside)
        else:
            draft.boxes.append(inside)
            draft.labels.append(label)
        self._rows.append((place, label, crowd, *box, area))

    def samples(self) -> tuple[Sample, ...]:
        return tuple(draft.sample() for draft in self.drafts)

    def truth(self) -> Truth:
        rows = np.array(self._rows, dtype=np.float64).reshape(-1, 8)
        sample, label, crowd, *box, area = rows.T
        return Truth(
            sample.astype(np.int64),
            label.astype(np.int64),
            np.stack(box, axis=1),
            area,
            crowd.astype(bool),
        )


class Reader:
    """Checks pictures and annotations in the order of the file; keeps what is sound.

    Entries are as in COCO's ``images`` and ``annotations``; ``where`` names one in a fault.
    """

    def __init__(self, pictures: Path, label_of: dict[int, int]) -> None:
        self.pictures, self.label_of = pictures, label_of
        self.kept = Collection()
        self.faults: list[Fault] = []
        self._places: dict[int, int | None] = {}  # image id -> place, None: dropped
        self._annotation_ids: set[int] = set()

    def add_picture(self, where: str, entry: Any) -> bool:
        """Keep a picture, or record what is wrong with it; return whether it was kept."""
        number = entry.get("id") if isinstance(entry, dict) else None
        if not is_id(number):
            self.fault("picture without an id", where)
            return False
        where = f"{where} (id {number})"
        if number in self._places:
            self.fault("picture id repeated", where)
            return False
        kind = self._picture_fault(entry)
        if kind is not None:
            self._places[number] = None
            self.fault(kind, where)
            return False
        path = self.pictures / entry["file_name"]
        self._places[number] = self.kept.add(number, path, entry["width"], entry["height"])
        return True

    def add_annotation(self, where: str, entry: Any) -> None:
        """Keep an annotation, or record what is wrong with it."""
        if not isinstance(entry, dict):
            self.fault("annotation malformed", where)
            return
        number = entry.get("id")
        named = "" if number is None else f"id {number}, "  # most forms have none
        where = f"{where} ({named}picture {entry.get('image_id')})"
        kind = self._annotation_fault(entry)
        if kind is not None:
            self.fault(kind, where)
            return
        if is_id(number):
            if number in self._annotation_ids:
                self.fault("annotation id repeated", where, "kept")
            self._annotation_ids.add(number)
        self._keep(where, entry)

    def _keep(self, where: str, entry: dict[str, Any]) -> None:
        place = self._places[entry["image_id"]]
        assert place is not None  # _annotation_fault looked
        draft = self.kept.drafts[place]
        x, y, w, h = box = [float(value) for value in entry["bbox"]]
        if max(-x, -y, x + w - draft.width, y + h - draft.height) > ROUNDING:
            self.fault("box partly outside the picture", where, "clipped")
        label = self.label_of[entry["category_id"]]
        area = entry.get("area")
        area = float(area) if _is_number(area) else w * h
        self.kept.annotate(place, label, box, area, bool(entry.get("iscrowd")))

    def _picture_fault(self, entry: dict[str, Any]) -> str | None:
        name, width, height = (entry.get(key) for key in ("file_name", "width", "height"))
        if not isinstance(name, str) or not name:
            return "picture without a file name"
        if not is_id(width) or not is_id(height) or width < 1 or height < 1:
            return "picture without width and height"
        if leaves(name):
            return "file name outside the picture folder"
        path = self.pictures / name
        if not os.path.isfile(path):  # unlike Path.is_file, False for a name too long
            return "picture file missing"
        try:
            size = stored_size(path)
        except DataError:
            return "picture file unreadable"
        return None if size == (height, width) else "picture size not as annotated"

    def _annotation_fault(self, entry: dict[str, Any]) -> str | None:
        image, category, box = (entry.get(k) for k in ("image_id", "category_id", "bbox"))
        if not is_id(image) or image not in self._places:
            return "annotation of an unknown picture"
        place = self._places[image]
        if place is None:
            return "annotation of a dropped picture"
        if not is_id(category) or category not in self.label_of:
            return "category unknown"
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            return "box is not four finite numbers"
        if box[2] <= 0 or box[3] <= 0:
            return "box without area"
        draft = self.kept.drafts[place]
        x1, y1, x2, y2 = _corners(box, draft.width, draft.height)
        return None if x1 < x2 and y1 < y2 else "box outside the picture"

    def fault(self, kind: str, where: str, action: str = "dropped") -> None:
        """Record a fault."""
        self.faults.append(Fault(kind, where, action))


@dataclass(frozen=True)
class Listing:
    """What the files of one split hold.

    Attributes:
        file: the annotation file, or the folder of them.
        category_ids, categories: ids and names, by class number.
        kept: pictures and annotations.
        faults: what was wrong with the others.
    """

    file: Path
    category_ids: tuple[int, ...]
    categories: tuple[str, ...]
    kept: Collection
    faults: tuple[Fault, ...] = ()


def _corners(box: list[float], width: int, height: int) -> list[float]:
    """Return x1, y1, x2, y2 of the part inside the picture, as float32 will hold them."""
    x, y, w, h = map(float, box)
    corners = (max(x, 0), max(y, 0), min(x + w, width), min(y + h, height))
    return [float(np.float32(value)) for value in corners]


def leaves(name: str) -> bool:
    """True for a file name that is absolute or goes up, and so may leave its folder."""
    return PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts


def is_id(value: object) -> TypeGuard[int]:
    """True for an integer that is not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    """True for a finite number that a float can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
