"""Find image files by the names in annotation files, however the tool wrote them."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

_URLS = ("coco_url", "flickr_url")  # LVIS has the first and no file name
_MOST_PARTS = 20  # of a name that are looked for
_DRIVE = re.compile(r"[A-Za-z]:")


class ImageFolder:
    r"""A folder of images.

    A name is first taken as it is. If there is no such file, ``\`` separates folders, too, and
    leading folders are left out one by one: ``C:\set\images\a.jpg`` may be ``images/a.jpg`` or
    ``a.jpg``. At last, the name may be that of a URL (``my%20a.jpg?x=1``), its accents may be
    characters of their own, as macOS writes them, and its suffix may be in small or capital
    letters. The file is always inside the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: dict[str, Path | None] = {}

    def find(self, name: str) -> Path | None:
        """Return the file of that name, None if there is none."""
        if name not in self._found:
            found = self._exact(name)
            for spelling in () if found else _spellings(name):
                found = found or self._by_last_parts(spelling)
            self._found[name] = found
        return self._found[name]

    def is_exact(self, name: str) -> bool:
        """Return whether the file has the name as it is."""
        return self.find(name) == self.folder / name

    def _exact(self, name: str) -> Path | None:
        path = self.folder / name
        # Unlike Path.is_file, os.path.isfile is False for a name that is too long.
        return path if name and not leaves_folder(name) and os.path.isfile(path) else None

    def _by_last_parts(self, name: str) -> Path | None:
        plain = PurePosixPath(_DRIVE.sub("", name, count=1) if _DRIVE.match(name) else name)
        parts = [part for part in PurePosixPath(str(plain).replace("\\", "/")).parts if part != "/"]
        for start in range(max(0, len(parts) - _MOST_PARTS), len(parts)):
            if found := self._exact("/".join(parts[start:])):
                return found
        return None


def _spellings(name: str) -> list[str]:
    """Return a name and other spellings of it, the likeliest first."""
    plain = [name, unquote(name.partition("?")[0])]
    named = [normalize(form, text) for text in plain for form in ("NFC", "NFD")]
    parts = [text.rpartition(".") for text in [*plain, *named]]
    small = [f"{stem}.{suffix.lower()}" for stem, _, suffix in parts]
    capital = [f"{stem}.{suffix.upper()}" for stem, _, suffix in parts]
    return list(dict.fromkeys([*plain, *named, *small, *capital]))


def image_name(entry: dict[str, Any]) -> str:
    """Return the file name of an entry, or the path of its URL if it has none; ``""`` for neither.

    LVIS has URLs only: ``http://images.cocodataset.org/train2017/000000391895.jpg``.
    """
    name = entry.get("file_name")
    if name is None:
        url = next((entry[key] for key in _URLS if isinstance(entry.get(key), str)), "")
        try:
            name = unquote(urlsplit(url).path).lstrip("/")
        except ValueError:  # no URL
            return ""
    return name if isinstance(name, str) else ""


def best_folder(folders: list[Path], names: list[str]) -> Path | None:
    """Return the folder that has the most of the files, None if no folder exists.

    Of several, it is the first; a folder with a file of exactly that name counts more.
    """
    existing = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]

    def count(folder: Path) -> tuple[int, int]:
        images = ImageFolder(folder)
        return sum(map(images.is_exact, names)), sum(images.find(n) is not None for n in names)

    return max(existing, key=count, default=None)


def leaves_folder(name: str) -> bool:
    """Return whether a file name may leave its folder: it is absolute or contains ``..``."""
    return PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts
