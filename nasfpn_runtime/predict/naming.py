"""Give every frame a unique name and a unique id."""

from __future__ import annotations

import os
from dataclasses import dataclass

from nasfpn_runtime.data.entry import Id
from nasfpn_runtime.pictures.image import Pixels
from nasfpn_runtime.predict.inputs import InputFile

_MAX_BYTES = 200  # of a file's name; file systems allow 255


@dataclass(frozen=True, eq=False)
class Frame:
    """An image, or one frame of an animation or video.

    Attributes:
        file: the file that it is from.
        number: number of the frame in its file, from 1; None for an image.
        name: unique name for its outputs, without suffix, with ``/`` between folders.
        image_id: unique id; see ``FrameNamer``. For an image of a dataset, that of the dataset.
        pixels: (height, width, 3) RGB uint8, as a viewer shows it. For an image of a dataset, in
            the frame of its annotations.
    """

    file: InputFile
    number: int | None
    name: str
    image_id: Id
    pixels: Pixels


class FrameNamer:
    """Gives every frame a name and an id that no other frame has.

    The name is that of the file without its suffix; frames are numbered (``clip-000001``). If
    it is taken, ``-2`` is appended. A name that is a number gives this number as the id, as
    COCO names its images (``000000000139``: 139). Otherwise the id is the name.
    """

    def __init__(self) -> None:
        self._taken: set[int | str] = set()  # names and ids
        self._count: dict[str, int] = {}  # of frames with the same name

    def frame(self, file: InputFile, number: int | None, pixels: Pixels) -> Frame:
        """Return a frame with its name and id."""
        name = self._unique(_base_name(file, number))
        self._taken.add(name)
        image_id: int | str = int(name) if name.isascii() and name.isdecimal() else name
        if image_id in self._taken and image_id != name:
            image_id = name
        self._taken.add(image_id)
        return Frame(file, number, name, image_id, pixels)

    def _unique(self, name: str) -> str:
        unique, count = name, self._count.get(name, 1)
        while unique in self._taken:
            count += 1
            unique = f"{name}-{count}"
        self._count[name] = count
        return unique


def _base_name(file: InputFile, number: int | None) -> str:
    stem = file.name.stem
    while len(os.fsencode(stem)) > _MAX_BYTES:
        stem = stem[:-1]
    if number is not None:
        stem = f"{stem}-{number:06d}"
    return file.name.with_name(stem).as_posix()
