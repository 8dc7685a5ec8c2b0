"""MindRecord folders: shards of images with their boxes, and an index.

The index, ``mindrecord.json``, names the shards of every split with their sizes and checksums,
and has a checksum of itself; it is written last. Folders of earlier versions have no checksums.
Each row of a shard is an image: its encoded bytes and those of its annotations that were kept.
A split read from here therefore gives the same samples as the folder it was made from.

Folders of version 1, which had only integers as ids of images and stored pixels as the frame of
boxes, are read too.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nasfpn_runtime.data.lists import no_split
from nasfpn_runtime.data.locate import leaves_folder
from nasfpn_runtime.data.rows import INDEX, Row, open_shards
from nasfpn_runtime.data.samples import Collection, Listing
from nasfpn_runtime.documents import read_json
from nasfpn_runtime.errors import DataError, DocumentError, first_line
from nasfpn_runtime.recipe.settings import Reading
from search_space.errors import value_text

VERSION = 2
_BLOCK = 1 << 22  # bytes of a file that are read at a time

# MindRecord's types. The arrays have a row for each annotation, in their order. An image without
# annotations has one row of zeros: MindDataset returns garbage for empty arrays (2.10.0).
SCHEMA: dict[str, dict[str, Any]] = {
    "place": {"type": "int64"},  # index in the split
    "image_id": {"type": "string"},  # as JSON; int64 in version 1
    "file_name": {"type": "string"},
    "width": {"type": "int64"},
    "height": {"type": "int64"},
    "upright": {"type": "int64"},  # 1 or 0, see samples.Sample; not in version 1
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


def read(folder: Path, split: str, reading: Reading) -> Listing:
    """Read a split. It has no faults: they were reported and left out when it was written.

    How the dataset is read was decided then, too: ``reading`` is not used.

    Raises:
        DataError: the index or a shard is missing, truncated or broken, or there is no
            such split.
    """
    index = _read_index(folder)
    known = index["splits"]
    if split not in known:
        raise no_split(split, folder, known)
    try:
        pictures, shards, categories = (
            known[split][key] for key in ("pictures", "shards", "categories")
        )
        ids = tuple(category["id"] for category in categories)
        names = tuple(str(category["name"]) for category in categories)
        _check_files(folder, shards.items(), known[split].get("checksums", {}))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"split {split!r} must have pictures, shards and categories, got {error!r} "
            f"(at {folder / INDEX})"
        ) from error
    open_shards.cache_clear()  # the folder may have been written again since
    files = tuple(str(folder / name) for name in shards if not name.endswith(".db"))
    kept = Collection()
    columns = SCHEMA.keys() - {"image"} - ({"upright"} if index["version"] == 1 else set())
    for number, row in sorted(_rows(files, tuple(columns)), key=lambda pair: int(pair[1]["place"])):
        _add(kept, Row(files, number, str(row["file_name"]), int(row["length"])), row)
    if len(kept.drafts) != pictures:
        raise DataError(
            f"split {split!r} must have {pictures} images, got {len(kept.drafts)} (at {folder})"
        )
    return Listing(folder / INDEX, ids, names, kept)


def _rows(files: tuple[str, ...], columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        dataset = open_shards(files, columns, os.getpid())
        yield from enumerate(dataset.create_dict_iterator(num_epochs=1, output_numpy=True))
    except RuntimeError as error:  # MindSpore's
        raise DataError(f"cannot read shard: {first_line(error)} (at {files[0]})") from error


def _add(kept: Collection, picture: Row, row: dict[str, Any]) -> None:
    key, upright = json.loads(str(row["image_id"])), bool(row.get("upright", False))
    width, height = int(row["width"]), int(row["height"])
    index = kept.add(key, picture, width, height, upright=upright)
    boxes, areas = row["bbox"].reshape(-1, 4).tolist(), row["area"].reshape(-1).tolist()
    labels, crowds = row["label"].reshape(-1).tolist(), row["iscrowd"].reshape(-1).tolist()
    for i in range(int(row["count"])):
        kept.annotate(index, labels[i], boxes[i], areas[i], bool(crowds[i]))


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = read_json(path)
    except DocumentError as error:
        raise DataError(f"cannot read index as JSON: {error}") from None
    version = index.get("version") if isinstance(index, dict) else None
    if not isinstance(index, dict) or isinstance(version, bool) or version not in (1, VERSION):
        raise DataError(
            f"version of the index must be 1 or {VERSION}, got {value_text(version)} (at {path})"
        )
    entries = index.get("splits")
    if not isinstance(entries, dict):
        raise DataError(f"splits must be a mapping, got {entries!r} (at {path})")
    # Strict, because a damaged name of the checksum would otherwise pass as a folder without one.
    if unknown := sorted(index.keys() - {"version", "splits", "checksum"}):
        raise DataError(f"a key of the index must be known, got {unknown[0]!r} (at {path})")
    expected = checksum_of(entries if version == 1 else {"version": version, "splits": entries})
    if index.get("checksum", expected) != expected:
        raise DataError(f"the index must match its checksum; it was damaged or edited (at {path})")
    return index


def checksum_of(content: dict[str, Any]) -> str:
    """Return the checksum of the content of an index; version 1 has that of ``splits`` only."""
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def file_checksum(path: Path) -> str:
    """Return the CRC-32 of a file: on two cores, 4 GB take a second once they are in memory."""
    value = 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def _check_files(
    folder: Path, shards: Iterable[tuple[str, int]], checksums: dict[str, str]
) -> None:
    """Check sizes and checksums: MindSpore would read a damaged shard, or abort the process.

    Raises:
        DataError: a shard is missing, has another size, or another checksum than when it was
            written, or its checksum alone is missing.
    """
    for name, size in shards:
        path = folder / name
        if leaves_folder(name):
            raise DataError(f"shard must be in the folder of its index, got {name!r} (at {folder})")
        got = path.stat().st_size if path.is_file() else "no file"
        if got != size:
            raise DataError(f"shard must have {size} bytes, got {got} (at {path})")
        if checksums and (found := file_checksum(path)) != checksums[name]:
            raise DataError(
                f"shard must have the checksum {checksums[name]}, got {found}: it was damaged "
                f"after it was written (at {path})"
            )
