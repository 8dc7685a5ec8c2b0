"""Write a dataset as a MindRecord folder."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.data.dataset import Split, fault_lines
from nasfpn_runtime.data.lists import check_room, new_folder
from nasfpn_runtime.data.mindrecord import SCHEMA, VERSION, checksum_of, file_checksum
from nasfpn_runtime.data.rows import INDEX
from nasfpn_runtime.data.samples import Fault, Sample, Truth
from nasfpn_runtime.errors import DataError, first_line
from nasfpn_runtime.progress import Progress

MOST_SHARDS = 1000  # MindRecord's own limit


def pack(
    splits: dict[str, Split], folder: Path, *, shards: int = 8, progress: bool = True
) -> dict[str, tuple[Fault, ...]]:
    """Write splits to a new MindRecord folder and return the faults of each.

    Every image is decoded once. An image that cannot be decoded is left out, as a fault of kind
    ``image file unreadable``. All faults are also written to ``faults.txt``. The folder appears
    atomically: a killed run leaves only a hidden draft, which the next run removes.

    Args:
        splits: by name.
        shards: number of files of a split; a split with fewer images gets a file for each.

    Raises:
        DataError: the folder exists, the name of a split is not a file name, no image of a split
            can be read, or the disk is full.
    """
    if not 1 <= shards <= MOST_SHARDS:
        raise DataError(f"shards must be from 1 to {MOST_SHARDS}, got {shards}")
    for name in splits:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise DataError(
                "name of a split must be letters, digits, underscores, dots and hyphens, "
                f"got {name!r}"
            )
    with new_folder(folder) as draft:
        # MindSpore 2.10.0 ends the process with a segmentation fault if it cannot write a header.
        sizes = (sample.file_size() for split in splits.values() for sample in split.samples)
        check_room(sum(sizes), folder.parent)
        entries, faults = {}, {}
        for name, split in splits.items():
            entries[name], faults[name] = _write_split(draft, name, split, shards, progress)
        lines = (fault_lines(replace(splits[name], faults=faults[name])) for name in faults)
        (draft / "faults.txt").write_text(
            "".join(lines), errors="backslashreplace", encoding="utf-8"
        )
        index = {"version": VERSION, "splits": entries}
        index["checksum"] = checksum_of(index)
        (draft / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return faults


def decoded(split: Split, name: str, progress: bool = True) -> Iterator[bytes | Fault]:
    """Yield the file content of every image, or a fault if it cannot be decoded.

    Args:
        name: of the split, for the progress bar.
    """
    with Progress(name, "image", len(split.samples), shown=progress) as bar:
        for sample in split.samples:
            try:
                content = sample.path.read_bytes()
                sample.read()
            except (OSError, DataError):
                yield Fault("image file unreadable", str(sample.path), "dropped")
            else:
                yield content
            bar.advance()


def _write_split(
    draft: Path, name: str, split: Split, shards: int, progress: bool
) -> tuple[dict[str, Any], tuple[Fault, ...]]:
    """Write the shards of a split; return its entry in the index, and its faults."""
    from mindspore.mindrecord import FileWriter

    faults = list(split.faults)
    written = 0
    try:
        writer = FileWriter(str(draft / f"{name}.mindrecord"), min(shards, len(split.samples)))
        writer.add_schema(SCHEMA, "pictures with boxes")
        for sample, rows, content in zip(
            split.samples, _rows(split), decoded(split, name, progress), strict=True
        ):
            if isinstance(content, Fault):
                faults.append(content)
                continue
            writer.write_raw_data([_row(written, sample, split.truth, rows, content)])
            written += 1
        if written:
            writer.commit()
    except RuntimeError as error:  # MindSpore's, such as for a full disk
        free = shutil.disk_usage(draft).free >> 20
        raise DataError(
            f"cannot write shards: {first_line(error)}; {free:,} MB are free (at {draft})"
        ) from error
    if written == 0:
        raise DataError(f"split {name!r} must have an image that can be read, got none")
    files = {path.name: path.stat().st_size for path in sorted(draft.glob(f"{name}.mindrecord*"))}
    categories = [
        {"id": number, "name": category}
        for number, category in zip(split.category_ids, split.categories, strict=True)
    ]
    checksums = {file: file_checksum(draft / file) for file in files}
    entry = {"pictures": written, "categories": categories, "shards": files, "checksums": checksums}
    return entry, tuple(faults)


def _rows(split: Split) -> list[NDArray[np.intp]]:
    """Return, for each image, the indices of its annotations in the truth."""
    order = np.argsort(split.truth.sample, kind="stable")
    counts = np.bincount(split.truth.sample, minlength=len(split.samples))
    return np.split(order, np.cumsum(counts)[:-1])


def _row(
    index: int, sample: Sample, truth: Truth, rows: NDArray[np.intp], content: bytes
) -> dict[str, Any]:
    """Return the row of a shard for one image, see ``mindrecord.SCHEMA``."""

    def padded(values: NDArray[Any], dtype: type[Any]) -> NDArray[Any]:
        taken = values[rows].astype(dtype)
        return taken if len(taken) else np.zeros((1, *values.shape[1:]), dtype)

    return {
        "place": index,
        "image_id": json.dumps(sample.image_id),
        "file_name": sample.path.name,
        "width": sample.width,
        "height": sample.height,
        "upright": int(sample.upright),
        "image": content,
        "length": len(content),
        "count": len(rows),
        "bbox": padded(truth.box, np.float64),
        "area": padded(truth.area, np.float64),
        "label": padded(truth.label, np.int32),
        "iscrowd": padded(truth.crowd, np.int32),
    }
