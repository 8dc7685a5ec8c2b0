"""MindRecord folders: shards of images with their boxes, and an index.

The index, ``mindrecord.json``, names the shards of every split and their sizes; it is written
last. Each row of a shard is an image: its encoded bytes and those of its annotations that were
kept. A split read from here therefore gives the same samples as the folder it was made from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nasfpn_runtime.data.reader import leaves_folder
from nasfpn_runtime.data.rows import INDEX, Row, open_shards
from nasfpn_runtime.data.samples import Collection, Listing
from nasfpn_runtime.errors import DataError, first_line

VERSION = 1

# MindRecord's types. The arrays have a row for each annotation, in their order. An image without
# annotations has one row of zeros: MindDataset returns garbage for empty arrays (2.10.0).
SCHEMA: dict[str, dict[str, Any]] = {
    "place": {"type": "int64"},  # index in the split
    "image_id": {"type": "int64"},
    "file_name": {"type": "string"},
    "width": {"type": "int64"},
    "height": {"type": "int64"},
    "image": {"type": "bytes"},  # content of the image file
    "length": {"type": "int64"},  # of image: MindDataset drops zeros at its end
    "count": {"type": "int64"},  # of annotations
    "bbox": {"type": "float64", "shape": [-1, 4]},  # x, y, width, height px, not clipped
    "area": {"type": "float64", "shape": [-1]},
    "label": {"type": "int32", "shape": [-1]},  # class from 0
    "iscrowd": {"type": "int32", "shape": [-1]},
}


def recognises(folder: Path) -> bool:
    """Return whether the folder has the files of this format."""
    return (folder / INDEX).exists()


def splits(folder: Path) -> tuple[str, ...]:
    """Return the names of the splits."""
    return tuple(_read_index(folder)["splits"])


def read(folder: Path, split: str) -> Listing:
    """Read a split. It has no faults: they were reported and left out when it was written.

    Raises:
        DataError: the index or a shard is missing, truncated or broken, or there is no
            such split.
    """
    known = _read_index(folder)["splits"]
    if split not in known:
        raise DataError(f"split must be one of {', '.join(known)}, got {split!r} (at {folder})")
    try:
        pictures, shards, categories = (
            known[split][key] for key in ("pictures", "shards", "categories")
        )
        ids = tuple(int(category["id"]) for category in categories)
        names = tuple(str(category["name"]) for category in categories)
        _check_sizes(folder, shards.items())
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"split {split!r} must have pictures, shards and categories, got {error!r} "
            f"(at {folder / INDEX})"
        ) from error
    open_shards.cache_clear()  # the folder may have been written again since
    files = tuple(str(folder / name) for name in shards if not name.endswith(".db"))
    kept = Collection()
    for number, row in sorted(_rows(files), key=lambda pair: int(pair[1]["place"])):
        _add(kept, Row(files, number, str(row["file_name"]), int(row["length"])), row)
    if len(kept.drafts) != pictures:
        raise DataError(
            f"split {split!r} must have {pictures} images, got {len(kept.drafts)} (at {folder})"
        )
    return Listing(folder / INDEX, ids, names, kept)


def _rows(files: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    columns = tuple(name for name in SCHEMA if name != "image")
    try:
        dataset = open_shards(files, columns, os.getpid())
        yield from enumerate(dataset.create_dict_iterator(num_epochs=1, output_numpy=True))
    except RuntimeError as error:  # MindSpore's
        raise DataError(f"cannot read shard: {first_line(error)} (at {files[0]})") from error


def _add(kept: Collection, picture: Row, row: dict[str, Any]) -> None:
    index = kept.add(int(row["image_id"]), picture, int(row["width"]), int(row["height"]))
    boxes, areas = row["bbox"].reshape(-1, 4).tolist(), row["area"].reshape(-1).tolist()
    labels, crowds = row["label"].reshape(-1).tolist(), row["iscrowd"].reshape(-1).tolist()
    for i in range(int(row["count"])):
        kept.annotate(index, labels[i], boxes[i], areas[i], bool(crowds[i]))


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read index as JSON: {error} (at {path})") from error
    version = index.get("version") if isinstance(index, dict) else None
    if not isinstance(index, dict) or version != VERSION:
        raise DataError(f"version of the index must be {VERSION}, got {version!r} (at {path})")
    entries = index.get("splits")
    if not isinstance(entries, dict):
        raise DataError(f"splits must be a mapping, got {entries!r} (at {path})")
    return index


def _check_sizes(folder: Path, shards: Iterable[tuple[str, int]]) -> None:
    for name, size in shards:
        path = folder / name
        if leaves_folder(name):
            raise DataError(f"shard must be in the folder of its index, got {name!r} (at {folder})")
        got = path.stat().st_size if path.is_file() else "no file"
        if got != size:
            raise DataError(f"shard must have {size} bytes, got {got} (at {path})")
