"""Names and numbers of what was looked at, each once."""

from __future__ import annotations

import os
from dataclasses import dataclass

from nasfpn_runtime.pictures.image import Pixels
from nasfpn_runtime.predict.inputs import InputFile

_MOST_BYTES = 200  # of a file's name; file systems take 255


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture, or a frame of an animation or video.

    Attributes:
        number: of the frame, from 1; None of a picture.
        name: of what is written of it, without suffix; ``/`` between folders.
        image_id: see ``Names``.
        pixels: (height, width, 3) RGB uint8, as a viewer shows it.
    """

    source: InputFile
    number: int | None
    name: str
    image_id: int | str
    pixels: Pixels


class Names:
    """Gives every frame a name and an id that no other has.

    The name is the file's without suffix, ``clip-000001`` for its first frame, and ``name-2``
    where it is taken. The id is the number that the name is, as COCO names its pictures
    (``000000000139``: 139), or else the name.
    """

    def __init__(self) -> None:
        self._taken: set[int | str] = set()
        self._last: dict[str, int] = {}

    def frame(self, source: InputFile, number: int | None, pixels: Pixels) -> Frame:
        """Return a frame with its name and id."""
        name = self._free(_stem(source, number))
        self._taken.add(name)
        image_id: int | str = int(name) if name.isascii() and name.isdecimal() else name
        if image_id in self._taken and image_id != name:
            image_id = name
        self._taken.add(image_id)
        return Frame(source, number, name, image_id, pixels)

    def _free(self, name: str) -> str:
        free, count = name, self._last.get(name, 1)
        while free in self._taken:
            count += 1
            free = f"{name}-{count}"
        self._last[name] = count
        return free


def _stem(source: InputFile, number: int | None) -> str:
    stem = source.name.stem
    while len(os.fsencode(stem)) > _MOST_BYTES:
        stem = stem[:-1]
    if number is not None:
        stem = f"{stem}-{number:06d}"
    return source.name.with_name(stem).as_posix()
