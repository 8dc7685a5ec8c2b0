"""COCO datasets: JSON files of images, annotations and categories; see ``coco_files``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasfpn_runtime.data.classes import make_classes
from nasfpn_runtime.data.coco_files import (
    annotation_files,
    find_file,
    find_images,
    read_annotations,
    recognises,
    split_names,
)
from nasfpn_runtime.data.entry import Id, identifier, other_spelling
from nasfpn_runtime.data.reader import Reader
from nasfpn_runtime.data.samples import Listing
from nasfpn_runtime.data.units import SIZES
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.recipe.settings import Reading
from search_space.errors import value_text
from search_space.names import shown

__all__ = ["read", "recognises", "splits"]

splits = split_names


def read(folder: Path, split: str, reading: Reading) -> Listing:
    """Read a split. Ids are kept as they are; 1.0 is 1.

    Boxes of images with an EXIF orientation are in the stored pixels, as in COCO's own files,
    unless the annotated sizes tell otherwise (``frames.Frames``).

    Raises:
        DataError: a file or folder is missing or is not COCO.
    """
    file = find_file(folder, split)
    data = read_annotations(file)
    categories = _categories(data["categories"], file)
    roots = _roots(data, categories, folder)
    kept = [(key, name) for key, name in categories.items() if key not in roots]
    classes = make_classes(sorted(kept, key=_order), reading, file)
    reader = Reader(find_images(folder, split, file, data["images"]), classes.label_of, reading)
    for key in roots:
        where = f"{shown(categories[key])} (id {key})"
        reader.note("category of categories, without a box", where, "left out")
    reader.survey(data["images"])
    for index, entry in enumerate(data["images"]):
        reader.add_picture(f"images[{index}]", entry)
    for index, entry in enumerate(data["annotations"]):
        reader.add_annotation(f"annotations[{index}]", entry)
    return reader.listing(file, classes, SIZES)


def _categories(entries: list[Any], file: Path) -> dict[Id, str]:
    """Return the names of the categories by id."""
    names: dict[Id, str] = {}
    for index, entry in enumerate(entries):
        key = identifier(entry.get("id")) if isinstance(entry, dict) else None
        if key is None or key in names or not isinstance(entry.get("name"), str):
            raise DataError(
                f"category must have a name and an id of its own, got {value_text(entry)} "
                f"(at categories[{index}] of {file})"
            )
        names[key] = entry["name"]
    return names


def _order(category: tuple[Id, str]) -> tuple[bool, float, str]:
    """Order categories by id: numbers first, then texts that are numbers, then other texts."""
    key = category[0]
    number = other_spelling(key) if isinstance(key, str) else key
    if isinstance(number, str) or number is None:
        return True, float("inf"), str(key)
    return isinstance(key, str), number, str(key)


def _roots(data: dict[str, Any], names: dict[Id, str], folder: Path) -> list[Id]:
    """Return the categories that others belong to and that no annotation of the dataset has.

    Roboflow writes such a root with the id 0. All splits must agree, so all of them are read.
    """
    parents = [entry.get("supercategory") for entry in data["categories"]]
    roots = {
        key
        for index, (key, name) in enumerate(names.items())
        if name in parents[:index] + parents[index + 1 :]
    }
    if not roots or len(roots) == len(names):
        return []
    for path in annotation_files(folder).values():
        roots -= _used(read_annotations(path)["annotations"], roots)
    return [key for key in names if key in roots]


def _used(annotations: list[Any], keys: set[Id]) -> set[Id]:
    found = {identifier(a.get("category_id")) for a in annotations if isinstance(a, dict)}
    return {key for key in keys if key in found or other_spelling(key) in found}
