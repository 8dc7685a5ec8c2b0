"""COCO folders: ``annotations/instances_<split>.json`` and a folder of images for each split."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nasfpn_runtime.data.lists import no_split
from nasfpn_runtime.data.reader import Reader, is_id
from nasfpn_runtime.data.samples import Listing
from nasfpn_runtime.documents import read_json
from nasfpn_runtime.errors import DataError, DocumentError


def recognises(folder: Path) -> bool:
    """Return whether the folder has the files of this format."""
    return (folder / "annotations").is_dir()


def splits(folder: Path) -> tuple[str, ...]:
    """Return the names of the splits: ``train`` for ``train2017`` if no other year is there."""
    stems = sorted(
        path.stem.removeprefix("instances_")
        for path in (folder / "annotations").glob("instances_*.json")
    )
    plain = [re.sub(r"(?<=\D)\d+$", "", stem) for stem in stems]
    return tuple(p if plain.count(p) == 1 else s for p, s in zip(plain, stems, strict=True))


def read(folder: Path, split: str) -> Listing:
    """Read a split.

    Raises:
        DataError: a file or folder is missing or is not COCO.
    """
    file, pictures = find_split(folder, split)
    data = _read_json(file)
    ids, names = _categories(data["categories"], file)
    reader = Reader(pictures, {value: label for label, value in enumerate(ids)})
    for index, entry in enumerate(data["images"]):
        reader.add_picture(f"images[{index}]", entry)
    for index, entry in enumerate(data["annotations"]):
        reader.add_annotation(f"annotations[{index}]", entry)
    return Listing(file, ids, names, reader.kept, tuple(reader.faults))


def find_split(folder: Path, split: str) -> tuple[Path, Path]:
    """Return the annotation file and the image folder of a split.

    Raises:
        DataError: they do not exist, or several files fit.
    """
    annotations = folder / "annotations"
    if not annotations.is_dir():
        raise DataError(f"dataset must be a folder with annotations/, got {folder}")
    files = {p.name: p for p in annotations.glob("instances_*.json")}
    exact = f"instances_{split}.json"
    numbered = re.compile(rf"instances_{re.escape(split)}\d+\.json")
    matches = [exact] if exact in files else sorted(filter(numbered.fullmatch, files))
    if not matches:
        raise no_split(split, folder, splits(folder))
    if len(matches) > 1:
        listed = ", ".join(matches)
        raise DataError(
            f"split {split!r} must have one file instances_{split}<number>.json, "
            f"got {listed} (at {annotations})"
        )
    stem = matches[0].removeprefix("instances_").removesuffix(".json")
    if not (folder / stem).is_dir():
        raise DataError(f"images of split {split!r} must be in {folder / stem}, got no folder")
    return files[matches[0]], folder / stem


def _read_json(file: Path) -> dict[str, Any]:
    try:
        data = read_json(file)
    except DocumentError as error:
        raise DataError(f"cannot read annotation file as JSON: {error}") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise DataError(f"annotation file must have a list {key!r}, got none (at {file})")
    result: dict[str, Any] = data
    return result


def _categories(entries: list[Any], file: Path) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return ids, ascending, and names of the categories."""
    names: dict[int, str] = {}
    for index, entry in enumerate(entries):
        value = entry.get("id") if isinstance(entry, dict) else None
        if not is_id(value) or value in names or not isinstance(entry.get("name"), str):
            raise DataError(
                f"category must have a name and an id of its own, got {entry!r} "
                f"(at categories[{index}] of {file})"
            )
        names[value] = entry["name"]
    ids = tuple(sorted(names))
    return ids, tuple(names[value] for value in ids)
