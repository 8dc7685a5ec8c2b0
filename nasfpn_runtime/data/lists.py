"""What several forms of data sets share: lists, names, a picture's size, a new folder."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nasfpn_runtime.errors import DataError
from nasfpn_runtime.files import locked
from nasfpn_runtime.pictures.image import stored_size

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

_LOCK = ".lock"


def read_lines(path: Path) -> list[str]:
    """Return a file's lines without surrounding blanks, empty ones included.

    Raises:
        DataError: the file cannot be read or is not UTF-8 text.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"a list is a text file, got {error} (at {path})") from error


def read_names(path: Path) -> tuple[str, ...]:
    """Return the categories of a file with one a line.

    Raises:
        DataError: there is none, or one is repeated.
    """
    return checked_names([line for line in read_lines(path) if line], path)


def checked_names(names: list[str], path: Path) -> tuple[str, ...]:
    """Return the names, or raise DataError unless there are some and all differ."""
    if not names or len(set(names)) != len(names):
        raise DataError(f"categories are different names, got {names} (at {path})")
    return tuple(names)


def picture_size(path: Path) -> dict[str, int]:
    """Return a picture's width and height, for forms that do not list them.

    1 x 1 where there is no such picture: the reader looks at the file itself and says
    what is wrong with it.
    """
    try:
        height, width = stored_size(path)
    except DataError:
        height = width = 1
    return {"width": width, "height": height}


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder that becomes ``folder`` at the end, and is removed on errors.

    Meanwhile it is in a hidden one beside ``folder``. What a killed process left of such is
    removed; what another one still writes stays, and the first to end makes the folder.

    Raises:
        DataError: the folder is there already.
    """
    if folder.exists():
        raise DataError(f"a data set goes to a new folder, got {folder}, which exists")
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        with suppress(OSError), locked(left / _LOCK):  # held as long as its writer lives
            shutil.rmtree(left, ignore_errors=True)
    around = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.partial")
    around.mkdir()
    try:
        with locked(around / _LOCK):
            draft = around / folder.name
            draft.mkdir()
            yield draft
            os.rename(draft, folder)
    finally:
        shutil.rmtree(around, ignore_errors=True)
