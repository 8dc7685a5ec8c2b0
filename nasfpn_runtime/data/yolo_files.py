"""Find the images, labels and class names of YOLO datasets, in the layouts of several tools.

- Ultralytics: ``images/<split>/``, ``labels/<split>/`` and ``data.yaml`` or another YAML file with
  ``names``. It may name a folder, a list of folders, or a text file that lists the images of a
  split, such as ``train: train2017.txt``.
- Roboflow: ``<split>/images/`` and ``<split>/labels/``.
- Not divided, such as Label Studio: ``images/``, ``labels/`` and ``classes.txt``. The split is
  ``all``.
- Darknet: label files beside the images, names in ``obj.names`` or ``_darknet.labels``.
- CVAT: as Darknet, with ``obj.data`` as settings and ``train.txt`` as list.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from nasfpn_runtime.data.lists import (
    ALL,
    PICTURES,
    images_in,
    read_lines,
    read_names,
    usual_split,
    visible,
)
from nasfpn_runtime.data.locate import ImageFolder, leaves_folder
from nasfpn_runtime.documents import read_yaml
from nasfpn_runtime.errors import DataError, DocumentError
from search_space.errors import value_text

NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")
_SETTINGS = "data.yaml"
_DARKNET = "obj.data"  # lines such as train = data/train.txt
_USUAL = ("train", "val", "test")


@dataclass(frozen=True)
class Files:
    """The files of a split.

    Attributes:
        images: names of the image files relative to the dataset folder, in the order of the split.
        root: the folder that has all of them, and no images of another split; None for a list.
        listing: the folder of the label files, or the list.
    """

    images: tuple[str, ...]
    root: Path | None
    listing: Path


class Folder:
    """A YOLO folder: its settings, splits and class names.

    Raises:
        DataError: ``data.yaml`` cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings_file, self.settings = _settings(folder)

    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits."""
        named = any(self._named(item) for name in _USUAL for item in self._listed(name))
        folders = [] if named else self._image_folders()
        inside = [usual_split(path.name) or path.name for path in folders]
        found = tuple(name for name in dict.fromkeys([*_USUAL, *inside]) if self._sources(name))
        if found:
            return found
        images = self.folder / "images"
        whole = (self.folder / "labels").is_dir() and images.is_dir()
        return (ALL,) if whole else ()

    def _image_folders(self) -> list[Path]:
        return visible((self.folder / "images").glob("*/"), self.folder)

    def check_path(self) -> None:
        """Raise DataError if ``path`` of the settings is another folder, which has no splits."""
        root = self.settings.get("path")
        path = Path(root) if isinstance(root, str) and Path(root).is_absolute() else None
        if path is not None and os.path.isdir(path) and path.resolve() != self.folder.resolve():
            raise DataError(
                f"dataset must be one folder, got {self.settings_file}, whose path is {path}; "
                f"copy {self.settings_file.name} there and give that folder"
            )

    def files(self, split: str) -> Files | None:
        """Return the files of a split, None if there is no such split.

        Raises:
            DataError: the list of its images cannot be read.
        """
        sources = [self.folder / "images"] if split == ALL else self._sources(split)
        if not sources or (split == ALL and ALL not in self.splits()):
            return None
        names = [name for source in sources for name in self._names(source)]
        root = sources[0] if len(sources) == 1 and sources[0].is_dir() else None
        listing = label_path(root / "image").parent if root else sources[0]
        return Files(tuple(names), root, listing)

    def class_names(self) -> tuple[list[str], Path]:
        """Return the class names, by number, and the file that they are from.

        Raises:
            DataError: there are none.
        """
        names = self.settings.get("names")
        if isinstance(names, dict) and {str(n) for n in range(len(names))} == set(map(str, names)):
            by_number = {int(number): name for number, name in names.items()}
            names = [by_number[number] for number in range(len(by_number))]
        if names and isinstance(names, list):
            for name in names:  # YAML reads yes, no, on and off as truth values
                if name is None or isinstance(name, (bool, list, dict)):
                    raise DataError(
                        f"names must be text, got {value_text(name)}; put such a name in quotes "
                        f"(at {self.settings_file})"
                    )
            return [str(name) for name in names], self.settings_file
        for path in (self.folder / inner / name for name in NAME_FILES for inner in ("", *_USUAL)):
            if names is None and path.exists() and (listed := read_names(path)):
                return listed, path
        raise DataError(
            f"names must be a list or a mapping from 0, 1, ... in {_SETTINGS}, or the lines of "
            f"{' or '.join(NAME_FILES[:2])}, got {value_text(names)} (at {self.folder})"
        )

    def _sources(self, split: str) -> list[Path]:
        """Return the folders of images, or the lists of them, of a split."""
        named = map(self._named, self._listed(split))
        if found := [path for path in named if path is not None]:
            return found
        for name in [split, *(["valid", "validation"] if split == "val" else [])]:
            for path in (Path("images", name), Path(name, "images"), Path(name)):
                if _has_labels(self.folder / path):
                    return [self.folder / path]
        return []

    def _listed(self, split: str) -> list[object]:
        """Return what ``data.yaml`` names as the images of a split."""
        listed = self.settings.get(split, self.settings.get("valid") if split == "val" else None)
        return listed if isinstance(listed, list) else [listed]

    def _named(self, name: object) -> Path | None:
        """Return the folder or list that ``data.yaml`` names.

        Names may be relative to ``path`` there, or absolute on the machine of the exporter; some
        exporters write ../train/images for train/images. So leading parts are left out until the
        rest is in the dataset's folder.
        """
        if not isinstance(name, str):
            return None
        parts = [p for p in PurePosixPath(name.replace("\\", "/")).parts if p not in ("/", "..")]
        root = str(self.settings.get("path") or "")
        bases = [self.folder / root] if root and not leaves_folder(root) else []
        for base in (*bases, self.folder):
            for start in range(len(parts)):
                path = base.joinpath(*parts[start:])
                # Unlike those of Path, these are False for a name that is too long.
                if os.path.isdir(path) or (path.suffix == ".txt" and os.path.isfile(path)):
                    return path
        return None

    def _names(self, source: Path) -> list[str]:
        """Return the images of a folder, sorted, or of a list, relative to the dataset folder."""
        if source.is_dir():
            within = visible(source.rglob("*"), source)
            files = [path for path in within if path.suffix.lower() in PICTURES]
            return [path.relative_to(self.folder).as_posix() for path in files]
        images = ImageFolder(self.folder)
        names = []
        for line in read_lines(source):
            if line:
                path = images.find(line.removeprefix("./"))
                names.append(line if path is None else path.relative_to(self.folder).as_posix())
        return names


def label_path(image: Path) -> Path:
    """Return the label file of an image.

    It is in the folder in whose path the last ``images`` is replaced by ``labels``; without such
    a folder it is beside the image.
    """
    parts = list(image.parent.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts, f"{image.stem}.txt")


def _darknet_settings(path: Path) -> dict[str, Any]:
    """Return the settings of Darknet that say where the images and class names are."""
    pairs = [line.partition("=") for line in read_lines(path)]
    settings: dict[str, Any] = {key.strip(): value.strip() for key, _, value in pairs}
    named = ImageFolder(path.parent).find(settings.pop("names", ""))
    if named is not None and (names := read_names(named)):
        settings["names"] = names
    return settings


def _has_labels(folder: Path) -> bool:
    """Return whether a folder is one of images with labels: called images, or with both."""
    if not folder.is_dir():
        return False
    if "images" in folder.parts[-2:]:
        return True
    return any(path.with_suffix(".txt").is_file() for path in images_in(folder))


def _settings(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return ``data.yaml``, another YAML file with ``names``, or ``obj.data``, and its content."""
    path = folder / _SETTINGS
    others = visible([*folder.glob("*.yaml"), *folder.glob("*.yml")], folder)
    for other in [] if path.exists() else others:
        try:
            content = read_yaml(other)
        except DocumentError:
            continue
        if isinstance(content, dict) and "names" in content:
            return other, content
    if not path.exists():
        darknet = folder / _DARKNET
        return (darknet, _darknet_settings(darknet)) if darknet.exists() else (path, {})
    try:
        settings = read_yaml(path)
    except DocumentError as error:
        raise DataError(f"cannot read {_SETTINGS} as YAML: {error}") from None
    if not isinstance(settings, dict):
        raise DataError(
            f"{_SETTINGS} must be a mapping with keys such as names, got {value_text(settings)} "
            f"(at {path})"
        )
    return path, settings
