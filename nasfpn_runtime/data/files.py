"""What several forms of data sets share: lists, names, a picture's size, a new folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nasfpn_runtime.data.image import stored_size
from nasfpn_runtime.errors import DataError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


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
    """Yield a folder next to ``folder`` that becomes it at the end, and is removed on errors.

    Raises:
        DataError: the folder is there already.
    """
    if folder.exists():
        raise DataError(f"a data set goes to a new folder, got {folder}, which exists")
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{folder.name}.*.partial"):
        if not _runs(left.name.split(".")[-2]):
            shutil.rmtree(left, ignore_errors=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    draft.mkdir()
    try:
        yield draft
        os.rename(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _runs(process: str) -> bool:
    """True if a process of that number runs on this machine."""
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (ValueError, OverflowError, OSError):
        return False
    return True
