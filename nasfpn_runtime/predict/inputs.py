"""Which files a user means: pictures, folders, patterns, or a list on standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from nasfpn_runtime.data.lists import PICTURES
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.predict.video import VIDEOS

STDIN = "-"
# What is taken from a folder; a file that is named is opened whatever its suffix.
SUFFIXES = frozenset(
    (*PICTURES, ".jfif", ".gif", ".apng", ".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".qoi", *VIDEOS)
)


@dataclass(frozen=True)
class InputFile:
    """A file to look at.

    Attributes:
        path: as the user wrote it, or below the folder that was named.
        name: for what is written of it; of a folder's file the way there from that folder.
    """

    path: Path
    name: PurePath


def list_files(given: Iterable[str]) -> list[InputFile]:
    """Return the files of names, folders (with all folders in them) and patterns, in order.

    A file is listed once. Links to folders are not followed below a folder or a ``**``.

    Raises:
        DataError: one of them stands for no file.
    """
    found: dict[Path, InputFile] = {}
    for text in given:
        for source in _meant(text):
            found.setdefault(source.path, source)
    return list(found.values())


def listed_files(lines: Iterable[bytes]) -> Iterator[InputFile]:
    """Yield the files of a list with one a line, as the lines come; empty ones are left out."""
    for line in lines:
        if text := os.fsdecode(line.rstrip(b"\r\n")):
            yield InputFile(Path(text), PurePath(Path(text).name))


def _meant(text: str) -> list[InputFile]:
    path = Path(text)
    if path.is_dir():
        found = list(_walk(path))
        if not found:
            raise DataError(f"a folder has pictures or videos, got none (at {text})")
        return found
    if os.path.lexists(text):
        return [InputFile(path, PurePath(path.name))]
    # A name with brackets may be both; the file comes first.
    matches = _matches(path) if glob.has_magic(text) else []
    if not matches:
        raise DataError(f"an input is a picture, a video, a folder or a pattern, got {text!r}")
    return [source for match in matches for source in _meant(str(match))]


def _matches(pattern: Path) -> list[Path]:
    # Not glob.glob, which follows links, round and round.
    root = Path(pattern.anchor)
    try:
        return sorted(root.glob(str(pattern.relative_to(root))))
    except ValueError as error:
        raise DataError(f"a pattern can be read, got {error} (at {pattern})") from None


def _walk(folder: Path) -> Iterator[InputFile]:
    """Yield the files of a folder by name."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield InputFile(path, path.relative_to(folder))
