"""What several dataset formats share: text lists, names, image sizes, a new folder."""

from __future__ import annotations

import glob
import os
import re
import secrets
import shutil
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nasfpn_runtime.errors import DataError
from nasfpn_runtime.files import locked
from search_space.files import listed
from search_space.names import shown

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

ALL = "all"  # name of the only split of a dataset that is not divided

_LOCK = ".lock"
_MAY_BE_LITTER = re.compile(r"(^|[/\\])(\.|__MACOSX)")  # faster than the parts of a path
_USUAL = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def usual_split(word: str) -> str:
    """Return train, val or test for a name such as ``valid`` or ``train2017``, else ``""``."""
    return _USUAL.get(re.sub(r"\d+$", "", word.lower()), "")


def folder_of(folder: Path, split: str, holds: Callable[[Path], bool]) -> Path | None:
    """Return the subfolder of a split, which may have another usual name of it: ``valid``.

    Args:
        holds: whether a folder has the files of the format.
    """
    names = [split, *(name for name, usual in _USUAL.items() if usual == split and name != split)]
    return next((folder / name for name in names if holds(folder / name)), None)


def visible(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Return the paths in a folder, sorted, without the litter of macOS and Jupyter.

    These are hidden files and folders, such as ``._a.jpg`` and ``.ipynb_checkpoints/``, and
    ``__MACOSX/``.
    """
    start = len(folder.parts)
    return sorted(
        path
        for path in paths
        if not _MAY_BE_LITTER.search(str(path)) or not any(map(_is_litter, path.parts[start:]))
    )


def _is_litter(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file, including empty ones, without surrounding blanks.

    Raises:
        DataError: the file cannot be read or is not text in UTF-8, or in UTF-16 with its mark.
    """
    try:
        content = path.read_bytes()
        encoding = "utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
        return [line.strip() for line in content.decode(encoding).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read text file: {error} (at {path})") from error


def no_split(split: str, folder: Path, found: Iterable[str]) -> DataError:
    """Return the error for a split that a folder lacks; ``found`` are the splits that it has."""
    names = sorted(found)
    listed = ", ".join(map(shown, names)) or "none"
    divide = f"; divide it: nasfpn data split {folder} -o DIR" if names == [ALL] else ""
    return DataError(f"no split {split!r} in {folder}; found {listed}{divide}")


def read_names(path: Path) -> list[str]:
    """Return the categories of a file that lists one on each line."""
    return [line for line in read_lines(path) if line]


def images_in(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, sorted."""
    files = visible(folder.glob("*"), folder)
    return [path for path in files if path.suffix.lower() in PICTURES and path.is_file()]


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
