"""Find the files that a user asks for: by name, folder or pattern, or in a list on stdin."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from nasfpn_runtime.data.lists import PICTURES
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.predict.video import VIDEOS

STDIN = "-"
# Suffixes of the files to take from a folder. A file given by name may have any suffix.
SUFFIXES = frozenset(
    (*PICTURES, ".jfif", ".gif", ".apng", ".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".qoi", *VIDEOS)
)


@dataclass(frozen=True)
class InputFile:
    """A file to detect in.

    Attributes:
        path: the path as the user wrote it, or below the folder that the user named.
        name: what to name its outputs after: the file's name, or its path relative to the
            folder that the user named.
    """

    path: Path
    name: PurePath


def list_files(given: Iterable[str], skip: Callable[[str], None] | None = None) -> list[InputFile]:
    """Return the files for names, folders (searched recursively) and patterns, in order.

    A file is listed once. Symbolic links to folders are not followed below a folder or a
    ``**``.

    Args:
        skip: takes a line about each name, folder or pattern that matches no file. Without it,
            and if there is no file at all, that is an error.

    Raises:
        DataError: a name, folder or pattern matches no file.
    """
    files: dict[Path, InputFile] = {}
    faults: list[str] = []
    for text in given:
        try:
            listed = _resolve(text)
        except DataError as error:
            faults.append(str(error))
            continue
        for file in listed:
            files.setdefault(file.path, file)
    if faults and (skip is None or not files):
        raise DataError("; ".join(faults))
    if skip is not None:
        for fault in faults:
            skip(fault)
    return list(files.values())


def listed_files(lines: Iterable[bytes]) -> Iterator[InputFile]:
    """Yield the files of a list with one name per line, as the lines arrive.

    Empty lines are skipped.
    """
    for line in lines:
        if text := os.fsdecode(line.rstrip(b"\r\n")):
            yield InputFile(Path(text), PurePath(Path(text).name))


def _resolve(text: str) -> list[InputFile]:
    """Return the files for a name, a folder or a pattern."""
    path = Path(text)
    if path.is_dir():
        files = list(_walk(path))
        if not files:
            raise DataError(f"no image or video in folder: {text}")
        return files
    if os.path.lexists(text):
        return [InputFile(path, PurePath(path.name))]
    # A name with brackets can be a file and a pattern: the file takes precedence.
    if not glob.has_magic(text):
        raise DataError(f"no such file: {text}")
    files = []
    for match in _glob(path):
        if match.is_dir():
            files += _walk(match)
        else:
            files.append(InputFile(match, PurePath(match.name)))
    if not files:
        raise DataError(f"no file matches the pattern: {text}")
    return files


def _glob(pattern: Path) -> list[Path]:
    # Not glob.glob, which follows links and would not end where they form a cycle.
    root = Path(pattern.anchor)
    try:
        return sorted(root.glob(str(pattern.relative_to(root))))
    except ValueError as error:
        raise DataError(f"cannot use {pattern} as a pattern: {error}") from None


def _walk(root: Path) -> Iterator[InputFile]:
    """Yield the images and videos below a folder, sorted by name."""
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield InputFile(path, path.relative_to(root))
