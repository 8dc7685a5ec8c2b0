"""Find the annotation files and image folders of VOC datasets, in the layouts of several tools.

- Pascal VOC: ``ImageSets/Main/<split>.txt``, ``Annotations/``, ``JPEGImages/``.
- Roboflow: ``<split>/`` with the XML files beside the images.
- Folders by split: ``Annotations/<split>/`` with ``JPEGImages/<split>/``, or the other way round.
- Not divided: ``Annotations/``, or XML files beside the images. The split is ``all``.

Images may also be in ``images/`` or beside the XML files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nasfpn_runtime.data.lists import ALL, PICTURES, read_lines, usual_split, visible

_ANNOTATIONS = ("Annotations", "annotations")
_LISTS = Path("ImageSets", "Main")
_IMAGES = ("JPEGImages", "images")
_TRIED = 50  # images that are looked for in each folder they may be in


@dataclass(frozen=True)
class Files:
    """The files of a split.

    Attributes:
        listing: the text file that lists the split, or the folder of its XML files.
        annotations: folder of the XML files.
        image_folders: folders in which the images may be.
    """

    listing: Path
    annotations: Path
    image_folders: tuple[Path, ...]

    def names(self) -> list[str]:
        """Return the names of the XML files, without suffix, in the order of the list.

        A line of VOC's own lists of one category ends in 1, 0 or -1, after a blank. A name may
        also have blanks: the line is one name if there is such a file.

        Raises:
            DataError: the list cannot be read.
        """
        if self.listing.is_dir():
            return [path.stem for path in _xml_files(self.listing)]
        return [self._name(line) for line in read_lines(self.listing) if line]

    def xml_files(self) -> list[Path]:
        """Return the XML files in the folder; with a list, also those in folders inside it."""
        pattern = "*.xml" if self.listing.is_dir() else "**/*.xml"
        return visible(self.annotations.glob(pattern), self.annotations)

    def images(self, names: list[str]) -> Path:
        """Return the folder that has the most of the first images; the first if none has any."""

        def count(folder: Path) -> int:
            return sum(image_file(folder, name) is not None for name in names[:_TRIED])

        return max(self.image_folders, key=count)

    def _name(self, line: str) -> str:
        plain = line.replace("\\", "/")
        last = plain.rpartition("/")[2]
        for name in (line, plain, last):
            for candidate in (name, name.rpartition(".")[0]):
                if candidate and _is_file(self.annotations / f"{candidate}.xml"):
                    return candidate
        name, _, mark = line.rpartition(" ")
        return name.strip() if name and mark in ("1", "0", "-1") else line


def find_splits(folder: Path) -> dict[str, Files]:
    """Return the files of each split, without lists of one category such as ``cat_train.txt``."""
    usual, other = (folder / name for name in _ANNOTATIONS)
    annotations = other if other.is_dir() and not usual.is_dir() else usual
    shared = tuple(folder / name for name in _IMAGES)
    if lists := visible((folder / _LISTS).glob("*.txt"), folder):
        stems = [path.stem for path in lists]
        whole = [s for s in stems if "_" not in s or s.rpartition("_")[2] not in stems]
        around = (*shared, annotations, folder)
        return {s: Files(folder / _LISTS / f"{s}.txt", annotations, around) for s in whole}
    found = {}
    inner = [path for name in _ANNOTATIONS for path in folder.glob(f"*/{name}/")]
    for path in visible([*annotations.glob("*/"), *folder.glob("*/"), *inner], folder):
        owner = path.parent if path.name in _ANNOTATIONS else path
        name = usual_split(owner.name)
        if name and name not in found and _has_xml(path):
            inside = tuple(base / i for base in (owner, path) for i in _IMAGES)
            beside = tuple(images / owner.name for images in shared)
            found[name] = Files(path, path, (path, owner, *inside, *beside, *shared))
    if not found:
        for path in (annotations, folder):
            if _has_xml(path):
                return {ALL: Files(path, path, (*shared, path, folder))}
    return found


def image_file(folder: Path, name: str) -> str | None:
    """Return the name of the image file of that name, with its suffix; None if there is none."""
    for suffix in (".jpg", *PICTURES, *(suffix.upper() for suffix in PICTURES)):
        if _is_file(folder / f"{name}{suffix}"):
            return f"{name}{suffix}"
    return None


def _has_xml(folder: Path) -> bool:
    return bool(_xml_files(folder))


def _xml_files(folder: Path) -> list[Path]:
    return visible(folder.glob("*.xml"), folder)


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # unlike Path.is_file, False for a name that is too long
