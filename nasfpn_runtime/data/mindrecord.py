"""MindRecord folders: shards of pictures with their boxes, and an index.

``mindrecord.json`` names the shards of every split and their sizes; it is written last. A
row of a shard is a picture: its encoded bytes and what was kept of its annotations, so
that a split read from here gives the samples of the folder it was made from.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nasfpn_runtime.data.samples import Collection, Listing, leaves
from nasfpn_runtime.errors import DataError

INDEX = "mindrecord.json"
VERSION = 1

# MindRecord's types. The arrays have a row for every annotation, in their order, and one of
# zeros where there is none: MindDataset returns garbage for empty arrays (2.10.0).
SCHEMA: dict[str, dict[str, Any]] = {
    "place": {"type": "int64"},  # in the split
    "image_id": {"type": "int64"},
    "file_name": {"type": "string"},
    "width": {"type": "int64"},
    "height": {"type": "int64"},
    "image": {"type": "bytes"},  # as the picture file has them
    "length": {"type": "int64"},  # of image: MindDataset drops zeros at its end
    "count": {"type": "int64"},  # of annotations
    "bbox": {"type": "float64", "shape": [-1, 4]},  # x, y, width, height px, not clipped
    "area": {"type": "float64", "shape": [-1]},
    "label": {"type": "int32", "shape": [-1]},  # class from 0
    "iscrowd": {"type": "int32", "shape": [-1]},
}


@dataclass(frozen=True)
class Row:
    """A picture in a shard.

    Attributes:
        files: the shards of its split.
        number: of the row, through all of them.
        name: of the picture file it was made from.
        length: bytes of the picture.
    """

    files: tuple[str, ...]
    number: int
    name: str
    length: int

    def read_bytes(self) -> bytes:
        """Return the picture file's content, as ``Path.read_bytes`` does.

        Raises:
            DataError: the shard cannot be read.
        """
        try:
            (found,) = _dataset(self.files, ("image",), os.getpid())[self.number]
        except RuntimeError as error:  # MindSpore's, of many lines
            raise DataError(f"a shard can be read, got {reason(error)} (at {self})") from error
        content: bytes = found.item()
        return content.ljust(self.length, b"\0")

    def __str__(self) -> str:
        return f"{self.name} in {Path(self.files[0]).parent / INDEX}"


class _Stored(io.BytesIO):
    """A picture's content that says where it is from."""

    def __init__(self, row: Row) -> None:
        super().__init__(row.read_bytes())
        self.row = row

    def __str__(self) -> str:
        return str(self.row)


def source(path: Path | Row) -> Any:
    """Return what ``image.read_image`` reads a sample's picture from: a path or an open file."""
    return _Stored(path) if isinstance(path, Row) else path


def found(folder: Path) -> bool:
    """True if the folder has the files of this form."""
    return (folder / INDEX).exists()


def splits(folder: Path) -> tuple[str, ...]:
    """Return the names of the splits."""
    return tuple(_index(folder)["splits"])


def read(folder: Path, split: str) -> Listing:
    """Read a split. Faults were reported and left out when it was written.

    Raises:
        DataError: the index or a shard is missing, truncated or broken, or there is no
            such split.
    """
    known = _index(folder)["splits"]
    if split not in known:
        raise DataError(f"a split is one of {', '.join(known)}, got {split!r} (at {folder})")
    try:
        pictures, shards, categories = (
            known[split][key] for key in ("pictures", "shards", "categories")
        )
        ids = tuple(int(category["id"]) for category in categories)
        names = tuple(str(category["name"]) for category in categories)
        _check_sizes(folder, shards.items())
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"a split has pictures, shards and categories, got {error!r} at {split!r} "
            f"(at {folder / INDEX})"
        ) from error
    _dataset.cache_clear()  # the folder may have been written anew
    files = tuple(str(folder / name) for name in shards if not name.endswith(".db"))
    kept = Collection()
    for number, row in sorted(_rows(files), key=lambda pair: int(pair[1]["place"])):
        _add(kept, Row(files, number, str(row["file_name"]), int(row["length"])), row)
    if len(kept.drafts) != pictures:
        raise DataError(
            f"split {split!r} has {pictures} pictures, got {len(kept.drafts)} (at {folder})"
        )
    return Listing(folder / INDEX, ids, names, kept)


def _rows(files: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    columns = tuple(name for name in SCHEMA if name != "image")
    try:
        dataset = _dataset(files, columns, os.getpid())
        yield from enumerate(dataset.create_dict_iterator(num_epochs=1, output_numpy=True))
    except RuntimeError as error:
        raise DataError(f"a shard can be read, got {reason(error)} (at {files[0]})") from error


def _add(kept: Collection, picture: Row, row: dict[str, Any]) -> None:
    place = kept.add(int(row["image_id"]), picture, int(row["width"]), int(row["height"]))
    boxes, areas = row["bbox"].reshape(-1, 4).tolist(), row["area"].reshape(-1).tolist()
    labels, crowds = row["label"].reshape(-1).tolist(), row["iscrowd"].reshape(-1).tolist()
    for index in range(int(row["count"])):
        kept.annotate(place, labels[index], boxes[index], areas[index], bool(crowds[index]))


@lru_cache(maxsize=16)
def _dataset(files: tuple[str, ...], columns: tuple[str, ...], process: int) -> Any:
    """Return MindSpore's reader, one a process: it does not survive a fork."""
    import mindspore.dataset

    return mindspore.dataset.MindDataset(
        list(files), columns_list=list(columns), shuffle=False, num_parallel_workers=1
    )


def _index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"an index is JSON, got {error} (at {path})") from error
    if not isinstance(index, dict) or index.get("version") != VERSION:
        raise DataError(f"an index has version {VERSION}, got another (at {path})")
    if not isinstance(index.get("splits"), dict):
        raise DataError(f"an index has splits by name, got none (at {path})")
    return index


def _check_sizes(folder: Path, shards: Iterable[tuple[str, int]]) -> None:
    for name, size in shards:
        path = folder / name
        if leaves(name):
            raise DataError(f"a shard is in the folder of its index, got {name!r} (at {folder})")
        got = path.stat().st_size if path.is_file() else "no file"
        if got != size:
            raise DataError(f"a shard has {size} bytes, got {got} (at {path})")


def reason(error: RuntimeError) -> str:
    """Return the line of MindSpore's error that says what happened."""
    text = str(error)
    found = re.search(r"\[(?:Internal )?ERROR\] +(?!\[)(.+)", text)
    return found[1].strip() if found else next(iter(text.splitlines()), "an error")
