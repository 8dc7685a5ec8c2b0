"""YOLO folders: ``images/<split>/``, ``labels/<split>/`` and names in ``data.yaml``.

A label file has a line for each box: the number of its category, from 0, then its centre, width
and height as fractions of those of the image. ``data.yaml`` may name the image folder of a split;
otherwise ``images/<split>`` and ``<split>/images`` are tried. If it does not list the category
names, they are the lines of ``classes.txt`` or ``obj.names``. The format has no crowd regions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasfpn_runtime.data.lists import (
    PICTURES,
    checked_names,
    no_split,
    picture_size,
    read_lines,
    read_names,
)
from nasfpn_runtime.data.reader import Reader, leaves_folder
from nasfpn_runtime.data.samples import Listing
from nasfpn_runtime.documents import read_yaml
from nasfpn_runtime.errors import DataError, DocumentError

_SETTINGS = "data.yaml"
_NAMES = ("classes.txt", "obj.names")
_USUAL = ("train", "val", "test")


def recognises(folder: Path) -> bool:
    """Return whether the folder has the files of this format."""
    return (folder / _SETTINGS).exists() or (folder / "labels").is_dir() or bool(splits(folder, {}))


def splits(folder: Path, settings: dict[str, Any] | None = None) -> tuple[str, ...]:
    """Return the names of the splits."""
    settings = _settings(folder) if settings is None else settings
    inside = [path.name for path in sorted((folder / "images").glob("*/")) if path.is_dir()]
    names = dict.fromkeys([*_USUAL, *inside])
    return tuple(name for name in names if _pictures(folder, name, settings) is not None)


def read(folder: Path, split: str) -> Listing:
    """Read a split. The id of an image is its position, from 1, among the sorted file names.

    Raises:
        DataError: a file or folder is missing, or there are no names.
    """
    settings = _settings(folder)
    pictures = _pictures(folder, split, settings)
    if pictures is None:
        raise no_split(split, folder, splits(folder, settings))
    labels = _labels(pictures)
    names = _names(folder, settings)
    ids = tuple(range(len(names)))
    reader = Reader(pictures, {value: value for value in ids})
    files = sorted(path for path in pictures.rglob("*") if path.suffix.lower() in PICTURES)
    stems = set()
    for number, path in enumerate(files, start=1):
        relative = path.relative_to(pictures)
        stems.add(relative.with_suffix(""))
        entry = {"id": number, "file_name": relative.as_posix(), **picture_size(path)}
        if reader.add_picture(str(relative), entry):
            _read_labels(reader, labels, relative.with_suffix(".txt"), entry)
    for path in sorted(labels.rglob("*.txt")):
        relative = path.relative_to(labels)
        if relative.with_suffix("") not in stems and path.name not in _NAMES:
            reader.fault("annotation of an unknown image", str(relative))
    return Listing(labels, ids, names, reader.kept, tuple(reader.faults))


def _read_labels(reader: Reader, labels: Path, name: Path, picture: dict[str, Any]) -> None:
    if not (labels / name).exists():
        return  # an image without boxes
    try:
        lines = read_lines(labels / name)
    except DataError:
        reader.fault("annotation file missing or unreadable", str(name))
        return
    for index, line in enumerate(lines, start=1):
        if line:
            reader.add_annotation(f"{name} line {index}", _annotation(line.split(), picture))


def _annotation(words: list[str], picture: dict[str, Any]) -> dict[str, Any]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    box = None
    if len(numbers) == 5:
        _, x, y, w, h = numbers
        width, height = picture["width"], picture["height"]
        box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
    category = int(numbers[0]) if numbers and numbers[0].is_integer() else None
    return {"image_id": picture["id"], "category_id": category, "bbox": box}


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / _SETTINGS
    if not path.exists():
        return {}
    try:
        settings = read_yaml(path)
    except DocumentError as error:
        raise DataError(f"cannot read {_SETTINGS} as YAML: {error}") from None
    if not isinstance(settings, dict):
        raise DataError(
            f"{_SETTINGS} must be a mapping with keys such as names, got {settings!r} (at {path})"
        )
    return settings


def _names(folder: Path, settings: dict[str, Any]) -> tuple[str, ...]:
    names = settings.get("names")
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[number] for number in range(len(names))]
    if isinstance(names, list):
        return checked_names([str(name) for name in names], folder / _SETTINGS)
    for name in _NAMES:
        if names is None and (folder / name).exists():
            return read_names(folder / name)
    raise DataError(
        f"names must be a list or a mapping from 0, 1, ... in {_SETTINGS}, or the lines of "
        f"{' or '.join(_NAMES)}, got {names!r} (at {folder})"
    )


def _pictures(folder: Path, split: str, settings: dict[str, Any]) -> Path | None:
    """Return the image folder of a split, None if there is none."""
    listed = settings.get(split)
    # Some exporters write ../train/images for train/images, which the usual folders cover.
    named = [listed] if isinstance(listed, str) and not leaves_folder(listed) else []
    usual = [f"images/{split}", f"{split}/images", *(["valid/images"] if split == "val" else [])]
    for name in (*named, *usual):
        path = folder / name
        if path.is_dir() and "images" in path.relative_to(folder).parts:
            return path
    return None


def _labels(pictures: Path) -> Path:
    """Return the label folder: the image folder with the last ``images`` of its path replaced."""
    parts = list(pictures.parts)
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts)
