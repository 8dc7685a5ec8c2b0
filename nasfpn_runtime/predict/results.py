"""What is written of a prediction: pictures with boxes, and results in COCO's form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from nasfpn_runtime.data.coco_names import by_id, by_order
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.files import whole
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.predict.draw import draw
from nasfpn_runtime.predict.naming import Frame

_JPEG = (".jpg", ".jpeg", ".jfif")
_JPEG_SIDE = 65500  # libjpeg's JPEG_MAX_DIMENSION
_QUALITY = 92


class Sink(Protocol):
    """Takes what was found, frame by frame."""

    def add(self, frame: Frame, found: Detections) -> None:
        """Take a frame; boxes are in its pixels."""
        ...


class PictureFolder:
    """A new folder of pictures with their boxes: JPEG of JPEG and of frames, else PNG.

    A picture is there whole or not at all.

    Raises:
        DataError: the folder is there and not empty; nothing is written over.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"pictures go to a new or empty folder, got {folder}; name one with -o")
        self.folder = folder

    def add(self, frame: Frame, found: Detections) -> None:
        """See ``Sink``."""
        jpeg = frame.number is not None or frame.source.path.suffix.lower() in _JPEG
        if max(frame.pixels.shape) > _JPEG_SIDE:
            jpeg = False
        target = self.folder / f"{frame.name}{'.jpg' if jpeg else '.png'}"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture = draw(frame.pixels, found)
        with whole(target) as draft:
            if jpeg:
                picture.save(draft, "JPEG", quality=_QUALITY)
            else:
                picture.save(draft, "PNG")


class CocoResults:
    """COCO's list of results, an entry a line.

    An entry has ``image_id`` (see ``naming.Names``), ``file_name`` as it was given, ``frame``
    (from 1, of an animation or video), ``category_id``, ``category``, ``bbox`` (x, y, width,
    height px) and ``score``. Boxes are in the picture as a viewer shows it: turned as its EXIF
    entry says, which COCO's own annotations are not. Categories have COCO's ids where they are
    COCO's 80, else the first is 1.
    """

    def __init__(self, stream: TextIO, categories: tuple[str, ...]) -> None:
        self.stream = stream
        known = by_id() if categories == by_order() else categories
        self.ids = [known.index(name) + 1 for name in categories]
        self.between = "[\n"

    def add(self, frame: Frame, found: Detections) -> None:
        """See ``Sink``."""
        for box, score, label, name in zip(
            found.boxes, found.scores, found.labels, found.names, strict=True
        ):
            x1, y1, x2, y2 = map(float, box)
            entry: dict[str, Any] = {
                "image_id": frame.image_id,
                "file_name": str(frame.source.path),
                **({} if frame.number is None else {"frame": frame.number}),
                "category_id": self.ids[label],
                "category": name,
                "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(float(score), 5),
            }
            self.stream.write(self.between + json.dumps(entry))
            self.between = ",\n"
        self.stream.flush()

    def close(self) -> None:
        """End the list."""
        self.stream.write("[]\n" if self.between == "[\n" else "\n]\n")
        self.stream.flush()


@contextmanager
def results_file(path: Path) -> Iterator[TextIO]:
    """Yield a stream into what becomes the file at the end, and is removed on errors.

    Raises:
        DataError: there is a folder of that name.
    """
    if path.is_dir():
        raise DataError(f"results go to a file, got the folder {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as draft, draft.open("w") as stream:
        yield stream
