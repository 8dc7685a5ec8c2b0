"""Outputs of a prediction: images with boxes, and results in COCO's format."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from nasfpn_runtime.data.coco_names import by_id, by_order
from nasfpn_runtime.data.entry import Id
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.outputs import NOTHING, Inputs, output_file
from nasfpn_runtime.predict.draw import draw
from nasfpn_runtime.predict.naming import Frame

_JPEG = (".jpg", ".jpeg", ".jfif")
_JPEG_SIDE = 65500  # libjpeg's JPEG_MAX_DIMENSION
_QUALITY = 92


class Sink(Protocol):
    """An output. It takes the detections, frame by frame."""

    def add(self, frame: Frame, detections: Detections) -> None:
        """Take the detections in a frame; boxes are in pixels of the frame."""
        ...


class PictureFolder:
    """A folder of images with their boxes.

    JPEG files and frames of animations and videos are written as JPEG, all others as PNG.
    Images are written atomically.

    Args:
        folder: the folder, which must be new or empty unless ``overwrite`` is given.
        overwrite: whether images of the same names in the folder are replaced.
        inputs: files that are never replaced.

    Raises:
        DataError: the folder is a file, or, without ``overwrite``, is not empty.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False, inputs: Inputs = NOTHING) -> None:
        if os.path.lexists(folder) and not folder.is_dir():
            raise DataError(f"images must go to a folder, got {folder}: choose another --out")
        if not overwrite and folder.exists() and any(folder.iterdir()):
            raise DataError(
                f"images must go to a new or empty folder, got {folder}: choose another --out, or "
                "add --overwrite"
            )
        self.folder, self.overwrite, self.inputs = folder, overwrite, inputs

    def add(self, frame: Frame, detections: Detections) -> None:
        """See ``Sink``."""
        jpeg = frame.number is not None or frame.file.path.suffix.lower() in _JPEG
        if max(frame.pixels.shape) > _JPEG_SIDE:
            jpeg = False
        target = self.folder / f"{frame.name}{'.jpg' if jpeg else '.png'}"
        picture = draw(frame.pixels, detections)
        with output_file(target, overwrite=self.overwrite, inputs=self.inputs) as draft:
            if jpeg:
                picture.save(draft, "JPEG", quality=_QUALITY)
            else:
                picture.save(draft, "PNG")


class _List:
    """A JSON list with one entry per line, written as the entries come."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._separator = "[\n"

    def write(self, entries: Iterable[dict[str, Any]]) -> None:
        """Write the next entries."""
        for entry in entries:
            self.stream.write(self._separator + json.dumps(entry))
            self._separator = ",\n"
        self.stream.flush()

    def close(self) -> None:
        """End the list."""
        self.stream.write("[]\n" if self._separator == "[\n" else "\n]\n")
        self.stream.flush()


class SplitResults(_List):
    """COCO's list of results for a split of a dataset, for a server or pycocotools.

    An entry has ``image_id`` and ``category_id`` as in the annotation file, ``bbox`` (x, y, width,
    height px, in the frame of the annotations) and ``score``, and nothing else. The numbers are
    not rounded, so that the metrics are those of ``scoring.coco_eval``.

    Args:
        stream: what the list is written to.
        ids: category ids of the split, by class number.
    """

    def __init__(self, stream: TextIO, ids: Sequence[Id]) -> None:
        super().__init__(stream)
        self.ids = ids

    def add(self, frame: Frame, detections: Detections) -> None:
        """See ``Sink``."""
        boxes = detections.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        self.write(
            {
                "image_id": frame.image_id,
                "category_id": self.ids[label],
                "bbox": box,
                "score": score,
            }
            for box, score, label in zip(
                boxes.tolist(), detections.scores.tolist(), detections.labels, strict=True
            )
        )


class CocoResults(_List):
    """COCO's list of results, one entry per line.

    An entry has ``image_id`` (see ``naming.FrameNamer``); ``file_name`` as the user gave it;
    ``frame``, from 1, for animations and videos; ``category_id``; ``category``; ``bbox`` (x, y,
    width, height px); and ``score``. Boxes refer to the image as a viewer shows it, rotated by
    its EXIF orientation; COCO's own annotations refer to the stored pixels. If the categories
    are COCO's 80, they have COCO's ids, otherwise the first has the id 1.
    """

    def __init__(self, stream: TextIO, categories: tuple[str, ...]) -> None:
        super().__init__(stream)
        known = by_id() if categories == by_order() else ()
        self.ids = [known.index(name) + 1 if known else n for n, name in enumerate(categories, 1)]

    def add(self, frame: Frame, detections: Detections) -> None:
        """See ``Sink``."""
        self.write(self._entries(frame, detections))

    def _entries(self, frame: Frame, detections: Detections) -> Iterator[dict[str, Any]]:
        for box, score, label, name in zip(
            detections.boxes,
            detections.scores,
            detections.labels,
            detections.names,
            strict=True,
        ):
            x1, y1, x2, y2 = map(float, box)
            yield {
                "image_id": frame.image_id,
                "file_name": str(frame.file.path),
                **({} if frame.number is None else {"frame": frame.number}),
                "category_id": self.ids[label],
                "category": name,
                "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(float(score), 5),
            }
