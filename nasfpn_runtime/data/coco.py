"""COCO folders: ``annotations/instances_<split>.json`` and a folder of pictures a split."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from nasfpn_runtime.data.samples import Listing, Reader, is_id
from nasfpn_runtime.errors import DataError


def found(folder: Path) -> bool:
    """True if the folder has the files of this form."""
    return (folder / "annotations").is_dir()


def splits(folder: Path) -> tuple[str, ...]:
    """Return the names of the splits: ``train`` for ``train2017`` where it is the only one."""
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
    data = _read(file)
    ids, names = _categories(data["categories"], file)
    reader = Reader(pictures, {value: label for label, value in enumerate(ids)})
    for index, entry in enumerate(data["images"]):
        reader.add_picture(f"images[{index}]", entry)
    for index, entry in enumerate(data["annotations"]):
        reader.add_annotation(f"annotations[{index}]", entry)
    return Listing(file, ids, names, reader.kept, tuple(reader.faults))


def find_split(folder: Path, split: str) -> tuple[Path, Path]:
    """Return the annotation file and the picture folder of a split.

    Raises:
        DataError: they are not there, or several files fit.
    """
    annotations = folder / "annotations"
    if not annotations.is_dir():
        raise DataError(f"a data set is a folder with annotations/, got {folder}")
    files = {p.name: p for p in annotations.glob("instances_*.json")}
    exact = f"instances_{split}.json"
    numbered = re.compile(rf"instances_{re.escape(split)}\d+\.json")
    found = [exact] if exact in files else sorted(filter(numbered.fullmatch, files))
    if len(found) != 1:
        listed = ", ".join(found or sorted(files)) or "no such file"
        raise DataError(
            f"split {split!r} has one file instances_{split}<number>.json, "
            f"got {listed} (at {annotations})"
        )
    stem = found[0].removeprefix("instances_").removesuffix(".json")
    if not (folder / stem).is_dir():
        raise DataError(f"the pictures of split {split!r} are in {folder / stem}, got no folder")
    return files[found[0]], folder / stem


def _read(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"an annotation file is JSON, got {error} (at {file})") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise DataError(f"an annotation file has a list {key!r}, got none (at {file})")
    result: dict[str, Any] = data
    return result


def _categories(entries: list[Any], file: Path) -> tuple[tuple[int, ...], tuple[str, ...]]:
    names: dict[int, str] = {}
    for index, entry in enumerate(entries):
        value = entry.get("id") if isinstance(entry, dict) else None
        if not is_id(value) or value in names or not isinstance(entry.get("name"), str):
            raise DataError(
                f"a category has an id of its own and a name, got {entry!r} "
                f"(at categories[{index}] of {file})"
            )
        names[value] = entry["name"]
    ids = tuple(sorted(names))
    return ids, tuple(names[value] for value in ids)
