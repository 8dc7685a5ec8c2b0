"""What several dataset formats share: text lists, names, image sizes, a new folder."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nasfpn_runtime.errors import DataError
from nasfpn_runtime.files import locked
from nasfpn_runtime.pictures.image import stored_size
from search_space.files import listed
from search_space.names import shown

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

_LOCK = ".lock"


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file, including empty ones, without surrounding blanks.

    Raises:
        DataError: the file cannot be read or is not UTF-8 text.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read text file: {error} (at {path})") from error


def no_split(split: str, folder: Path, found: Iterable[str]) -> DataError:
    """Return the error for a split that a folder lacks; ``found`` are the splits that it has."""
    names = ", ".join(map(shown, sorted(found))) or "none"
    return DataError(f"no split {split!r} in {folder}; found {names}")


def read_names(path: Path) -> tuple[str, ...]:
    """Return the categories of a file that lists one on each line.

    Raises:
        DataError: there is none, or one is repeated.
    """
    return checked_names([line for line in read_lines(path) if line], path)


def checked_names(names: list[str], path: Path) -> tuple[str, ...]:
    """Return the names.

    Raises:
        DataError: there are none, or one is repeated.
    """
    if not names or len(set(names)) != len(names):
        raise DataError(f"categories must be one or more different names, got {names} (at {path})")
    return tuple(names)


def picture_size(path: Path) -> dict[str, int]:
    """Return the width and height of an image, for formats that do not list them.

    They are 1 x 1 if there is no such image: ``Reader`` checks the file itself and reports what
    is wrong with it.
    """
    try:
        height, width = stored_size(path)
    except DataError:
        height = width = 1
    return {"width": width, "height": height}


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a draft folder that is renamed to ``folder`` at the end, or removed on errors.

    The draft is in a hidden folder beside ``folder`` that its writer holds locked. Drafts of
    killed processes, which hold no lock, are removed first; a draft that another process is
    still writing stays. The first process to finish makes the folder.

    Raises:
        DataError: the folder exists.
    """
    if folder.exists():
        raise DataError(f"folder of the dataset must be new, got {folder}, which exists")
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        with suppress(OSError), locked(left / _LOCK):
            shutil.rmtree(left, ignore_errors=True)
    around = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.partial")
    around.mkdir()
    with listed(around):
        try:
            with locked(around / _LOCK):
                draft = around / folder.name
                draft.mkdir()
                yield draft
                os.rename(draft, folder)
        finally:
            shutil.rmtree(around, ignore_errors=True)


def check_room(needed: int, folder: Path) -> None:
    """Raise DataError if a number of bytes do not fit on the disk of a folder."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"free disk space must be at least {needed >> 20:,} MB, got {free >> 20:,} MB "
            f"(at {folder})"
        )
