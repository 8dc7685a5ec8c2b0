"""The frame that the boxes of an image are in: its stored pixels, or what a viewer shows.

A camera stores an image as its sensor lies and writes an EXIF orientation, by which viewers turn
it. Most annotation tools show the turned image, so their boxes are in the viewer's frame. COCO's
own annotations are in the stored pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nasfpn_runtime.pictures.image import Header, read_header

STORED, UPRIGHT = "stored", "upright"

Size = tuple[int, int]  # height and width


@dataclass(frozen=True)
class Frame:
    """The frame of an image.

    Attributes:
        size: (height, width) in it.
        turned: whether the image has an EXIF orientation, so that there are two frames.
        upright: whether it is the frame that a viewer shows.
    """

    size: Size
    turned: bool
    upright: bool


class Frames:
    """Decide the frame of each image of a set.

    If the annotated size fits one frame only, it is that one. Otherwise it is the frame of the
    images of the set whose size tells, if they agree, or else the convention of the format.

    Args:
        exif: ``auto`` for this rule, or the frame of all images.
        convention: ``stored`` or ``upright``.
    """

    def __init__(self, exif: str, convention: str) -> None:
        self.exif, self.convention = exif, convention
        self._headers: dict[Path, Header] = {}
        self._told: set[str] = set()

    def look(self, path: Path, annotated: Size | None) -> None:
        """Let an image tell the frame of its set.

        Raises:
            DataError: the file is not an image.
        """
        if annotated is not None:
            self._told |= {_told(self.header(path), annotated)} - {""}

    def of(self, path: Path, annotated: Size | None) -> Frame:
        """Return the frame of an image; its size differs from an annotated one that is wrong.

        Raises:
            DataError: the file is not an image.
        """
        header = self.header(path)
        frame = self.exif
        if frame == "auto":
            told = _told(header, annotated) if annotated is not None else ""
            frame = told or (self.convention if len(self._told) != 1 else min(self._told))
        size = header.upright_size if frame == UPRIGHT else header.size
        return Frame(size, header.orientation != 1, frame == UPRIGHT)

    def header(self, path: Path) -> Header:
        """Return the header of an image; it is read once.

        Raises:
            DataError: the file is not an image.
        """
        if path not in self._headers:
            self._headers[path] = read_header(path)
        return self._headers[path]


def _told(header: Header, annotated: Size) -> str:
    """Return the only frame with the annotated size, ``""`` if none or both have it."""
    if header.size == header.upright_size:
        return ""
    return {header.size: STORED, header.upright_size: UPRIGHT}.get(annotated, "")
