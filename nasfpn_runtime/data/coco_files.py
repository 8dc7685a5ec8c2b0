"""Find the annotation files and image folders of COCO datasets, in the layouts of several tools.

========================  ==============================================  ======================
tool                      annotation file                                 images
========================  ==============================================  ======================
COCO                      ``annotations/instances_<split>.json``          ``<split>/``
COCO, other layout        the same                                        ``images/<split>/``
CVAT                      ``annotations/instances_default.json``          ``images/``
LVIS                      ``annotations/lvis_v1_<split>.json``            ``<split>/``
Roboflow                  ``<split>/_annotations.coco.json``              beside the file
FiftyOne                  ``labels.json``                                 ``data/``
By split                  one ``*.json`` in ``<split>/``                  ``<split>/images/``
Label Studio and others   any other ``*.json`` with the lists of COCO     ``images/``, or beside
========================  ==============================================  ======================
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from nasfpn_runtime.data.lists import ALL, no_split, usual_split, visible
from nasfpn_runtime.data.locate import best_folder, image_name
from nasfpn_runtime.documents import read_json
from nasfpn_runtime.errors import DataError, DocumentError

LISTS = ("images", "annotations", "categories")
ROBOFLOW = "_annotations.coco.json"
_FOLDER = "annotations"
_INSTANCES = "instances_"
_UNDIVIDED = "default"  # CVAT's name of the only split
# Files of COCO's other tasks.
_INFO = "image_info_"  # images only
_OTHERS = ("captions_", "panoptic_", "person_keypoints_", "stuff_")
_MOST_FILES = 20  # of JSON in the folder of a split; more are one for each image
_TRIED = 50  # images that are looked for in each folder they may be in


def recognises(folder: Path) -> bool:
    """Return whether the folder has the files of this format."""
    inside = folder / _FOLDER  # of VOC, in some layouts
    return bool(annotation_files(folder)) or (inside.is_dir() and not any(inside.rglob("*.xml")))


def annotation_files(folder: Path) -> dict[str, Path]:
    """Return the annotation files by the full names of their splits, such as ``train2017``."""
    inside = visible((folder / _FOLDER).glob("*.json"), folder)
    found = [path for path in inside if path.name.startswith(_INSTANCES)]
    found = found or [path for path in inside if not path.name.startswith((_INFO, *_OTHERS))]
    files = {path.stem.removeprefix(_INSTANCES): path for path in found}
    for path in inside:  # of test sets, whose annotations are secret
        name = path.stem.removeprefix(_INFO)
        images = (folder / part / n for n in _folder_names(name) for part in ("", "images"))
        if path.name.startswith(_INFO) and name not in files and any(map(os.path.isdir, images)):
            files[name] = path
    if files:
        return files
    if found := visible(folder.glob(f"*/{ROBOFLOW}"), folder):
        return {path.parent.name: path for path in found}
    if found := [path for path in visible(folder.glob("*.json"), folder) if _is_coco(path)]:
        return {path.stem: path for path in found}
    owners = [path for path in visible(folder.glob("*/"), folder) if usual_split(path.name)]
    single = {owner.name: _only_file(owner) for owner in owners}
    return {name: path for name, path in single.items() if path is not None}


def split_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the splits: ``train`` for ``train2017`` if no other year is there."""
    files = annotation_files(folder)
    short = _short_names(files)
    return tuple(s if short.count(s) == 1 else n for s, n in zip(short, files, strict=True))


def find_file(folder: Path, split: str) -> Path:
    """Return the annotation file of a split.

    Raises:
        DataError: there is none, or several fit.
    """
    files = annotation_files(folder)
    if split in files:
        return files[split]
    short = _short_names(files)
    fitting = [path for name, path in zip(short, files.values(), strict=True) if name == split]
    if not fitting:
        raise no_split(split, folder, split_names(folder))
    if len(fitting) > 1:
        listed = ", ".join(path.name for path in fitting)
        raise DataError(
            f"split {split!r} must have one annotation file, got {listed} "
            f"(at {fitting[0].parent}); name the split by the rest of its file name"
        )
    return fitting[0]


def find_images(folder: Path, split: str, file: Path, entries: list[Any]) -> Path:
    """Return the image folder of a split: the one that has the most of its first images.

    Args:
        entries: the list ``images`` of the annotation file.

    Raises:
        DataError: there is no such folder.
    """
    name = next((n for n, path in annotation_files(folder).items() if path == file), split)
    names = [image_name(entry) for entry in entries[:_TRIED] if isinstance(entry, dict)]
    usual = [folder / part / n for n in (*_folder_names(name), split) for part in ("", "images")]
    usual += [folder / name / part for part in ("images", "data")]
    beside = [] if file.parent.name == _FOLDER else [file.parent]
    shared = [folder / part for part in ("images", "data", "JPEGImages")]
    found = best_folder([*usual, *beside, *shared, folder], names)
    if found is None or (found == folder and not any((folder / n).is_file() for n in names if n)):
        found = best_folder([*usual, *beside, *shared], [])
    if found is None:
        raise DataError(f"images of split {split!r} must be in {folder / name}, got no folder")
    return found


def read_annotations(file: Path) -> dict[str, Any]:
    """Return the content of an annotation file.

    Raises:
        DataError: it is not JSON, or lacks one of COCO's lists. The list of annotations may be
            missing or null, as in test sets.
    """
    try:
        data = read_json(file)
    except DocumentError as error:
        raise DataError(f"cannot read annotation file as JSON: {error}") from None
    if isinstance(data, dict) and data.get("annotations") is None:
        data["annotations"] = []
    for key in LISTS:
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise DataError(f"annotation file must have a list {key!r}, got none (at {file})")
    result: dict[str, Any] = data
    return result


def _short_names(files: dict[str, Path]) -> list[str]:
    """Return the usual name of each split, or else its name without the year."""
    return [_short(name, path, alone=len(files) == 1) for name, path in files.items()]


def _short(name: str, path: Path, *, alone: bool) -> str:
    name = name.removeprefix(_INSTANCES)
    if name == _UNDIVIDED:
        return ALL
    if path.name.startswith((_INSTANCES, _INFO)):
        return usual_split(name) or re.sub(r"(?<=\D)\d+$", "", name)
    words = {usual_split(word) for word in re.split(r"[^A-Za-z0-9]+", name)} - {""}
    if len(words) == 1:
        return words.pop()
    return ALL if alone and name != path.parent.name else name


def _folder_names(name: str) -> list[str]:
    """Return the names that the image folder of a split may have; test-dev2017 has test2017."""
    return list(dict.fromkeys([name, re.sub(r"-[a-z]+", "", name)]))


def _only_file(folder: Path) -> Path | None:
    """Return the annotation file in the folder of a split, None if there is none or several."""
    inside = visible([*folder.glob("*.json"), *folder.glob(f"{_FOLDER}/*.json")], folder)
    found = [path for path in inside if _is_coco(path)] if len(inside) <= _MOST_FILES else []
    return found[0] if len(found) == 1 else None


def _is_coco(path: Path) -> bool:
    """Return whether a file has the lists of COCO. A file that did not change is read once."""
    status = path.stat()
    return _has_lists(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _has_lists(path: Path, time: int, size: int) -> bool:
    try:
        data = read_json(path)
    except DocumentError:
        return False
    return isinstance(data, dict) and all(isinstance(data.get(key), list) for key in LISTS)
