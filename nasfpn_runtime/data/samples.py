"""The values a dataset is made of, in COCO's terms: faults, samples, truth, listings."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.data.entry import Id
from nasfpn_runtime.data.rows import Row
from nasfpn_runtime.pictures.boxes import Boxes
from nasfpn_runtime.pictures.image import Pixels, decode_image, read_image

_FLOATS = struct.Struct("<4f")


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a dataset, or odd about it, and what was done about it.

    Attributes:
        kind: what is wrong, such as ``box without area``.
        where: the entry in the file, such as ``annotations[17] (id 12, image 3)``.
        action: ``dropped``, ``clipped`` or ``kept``; for what is odd only, how it was read.
        got: the value at fault, if there is one to show.
    """

    kind: str
    where: str
    action: str
    got: str = ""


@dataclass(frozen=True, eq=False)
class Sample:
    """An image and what is in it.

    Attributes:
        image_id: id in the annotation file.
        path: the image file, or its row in a MindRecord; :meth:`read` reads either.
        width, height: size in pixels of the frame of the boxes: the stored pixels, or those that a
            viewer shows if ``upright`` is true.
        boxes: (n, 4) float32 xyxy px, inside the image, each with a positive area.
        labels: (n,) int32 from 0, indices into ``Split.categories``.
        crowd: (m, 4) float32 xyxy px: regions of objects that were not annotated one
            by one (``iscrowd``), to be left out of training.
        upright: whether the image has an EXIF orientation, and the frame is the one that a viewer
            shows.
    """

    image_id: Id
    path: Path | Row
    width: int
    height: int
    boxes: Boxes
    labels: NDArray[np.int32]
    crowd: Boxes
    upright: bool = False

    def read(self) -> Pixels:
        """Return the image as ``image.read_image`` does, in the frame of the boxes.

        Raises:
            DataError: the image or its shard cannot be read.
        """
        if isinstance(self.path, Row):
            content = self.path.read_bytes()
            return decode_image(content, str(self.path), upright=self.upright)
        return read_image(self.path, upright=self.upright)

    def file_size(self) -> int:
        """Return the size of the image file in bytes.

        Raises:
            OSError: there is no such file.
        """
        return self.path.length if isinstance(self.path, Row) else self.path.stat().st_size


@dataclass(frozen=True, eq=False)
class Truth:
    """The annotations that were kept, unclipped: what evaluation compares with.

    Attributes:
        sample: (N,) int64, indices into ``Split.samples``.
        label: (N,) int64, classes from 0.
        box: (N, 4) float64, x, y, width, height px, not clipped.
        area: (N,) float64 square px, which decides between small, medium and large.
        crowd: (N,) bool.
    """

    sample: NDArray[np.int64]
    label: NDArray[np.int64]
    box: NDArray[np.float64]
    area: NDArray[np.float64]
    crowd: NDArray[np.bool_]


@dataclass
class Draft:
    """A sample that annotations are still being added to."""

    image_id: Id
    path: Path | Row
    width: int
    height: int
    upright: bool = False
    boxes: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    crowd: list[list[float]] = field(default_factory=list)

    def sample(self) -> Sample:
        """Return the finished sample."""
        return Sample(
            self.image_id,
            self.path,
            self.width,
            self.height,
            np.array(self.boxes, dtype=np.float32).reshape(-1, 4),
            np.array(self.labels, dtype=np.int32),
            np.array(self.crowd, dtype=np.float32).reshape(-1, 4),
            self.upright,
        )


class Collection:
    """Images and the annotations that are kept, in the order they are added.

    Attributes:
        drafts: the images so far.
    """

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self._rows: list[tuple[float, ...]] = []

    def add(
        self, image_id: Id, path: Path | Row, width: int, height: int, *, upright: bool = False
    ) -> int:
        """Add an image and return its index; see ``Sample`` for the arguments."""
        self.drafts.append(Draft(image_id, path, width, height, upright))
        return len(self.drafts) - 1

    def annotate(self, index: int, label: int, box: list[float], area: float, crowd: bool) -> None:
        """Add an annotation to image ``index``.

        Args:
            box: x, y, width, height px; at least a part of it is inside the image.
        """
        draft = self.drafts[index]
        inside = corners_inside(box, draft.width, draft.height)
        if crowd:
            draft.crowd.append(inside)
        else:
            draft.boxes.append(inside)
            draft.labels.append(label)
        self._rows.append((index, label, crowd, *box, area))

    def samples(self) -> tuple[Sample, ...]:
        """Return a sample for each image."""
        return tuple(draft.sample() for draft in self.drafts)

    def truth(self) -> Truth:
        """Return all annotations, unclipped."""
        rows = np.array(self._rows, dtype=np.float64).reshape(-1, 8)
        sample, label, crowd, *box, area = rows.T
        return Truth(
            sample.astype(np.int64),
            label.astype(np.int64),
            np.stack(box, axis=1),
            area,
            crowd.astype(bool),
        )


@dataclass(frozen=True)
class Listing:
    """What the files of one split contain.

    Attributes:
        file: the annotation file, or the folder of annotation files.
        category_ids, categories: ids and names, by class number.
        kept: the images and annotations that can be used.
        faults: what was wrong with the others.
        notes: what was read in another way than it is written.
    """

    file: Path
    category_ids: tuple[Id, ...]
    categories: tuple[str, ...]
    kept: Collection
    faults: tuple[Fault, ...] = ()
    notes: tuple[Fault, ...] = ()


def corners_inside(box: list[float], width: int, height: int) -> list[float]:
    """Return x1, y1, x2, y2 of the part of a box inside the image, rounded to float32.

    Args:
        box: x, y, width, height px.
        width, height: size of the image.
    """
    x, y, w, h = map(float, box)
    x1, y1 = min(max(x, 0), width), min(max(y, 0), height)  # no number is too large for float32
    x2, y2 = max(min(x + w, width), 0), max(min(y + h, height), 0)
    return list(_FLOATS.unpack(_FLOATS.pack(x1, y1, x2, y2)))
