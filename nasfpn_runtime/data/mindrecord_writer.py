"""Write a data set as a MindRecord folder."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.data.lists import new_folder
from nasfpn_runtime.data.mindrecord import INDEX, SCHEMA, VERSION, Row, reason, source
from nasfpn_runtime.data.samples import Fault, Sample, Truth
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.image import read_image

MOST_SHARDS = 1000  # MindRecord's own bound


def pack(
    splits: dict[str, Split], folder: Path, *, shards: int = 8, progress: bool = True
) -> dict[str, tuple[Fault, ...]]:
    """Write splits to a new MindRecord folder and return the faults of each.

    Every picture is decoded once: one that cannot be is left out, a fault of kind
    ``picture file unreadable``. All faults are in ``faults.txt`` too. Everything is written
    next to the folder and moved there at the end, so that a killed run leaves no folder;
    what it does leave is removed by the next.

    Args:
        splits: by name.
        shards: files of a split; no more than it has pictures.

    Raises:
        DataError: the folder is there already, a split's name is no file name, none of its
            pictures can be read, or the disk is full.
    """
    if not 1 <= shards <= MOST_SHARDS:
        raise DataError(f"shards are from 1 to {MOST_SHARDS}, got {shards}")
    for name in splits:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise DataError(f"a split has a plain name, got {name!r}")
    with new_folder(folder) as draft:
        _check_room(splits, folder.parent)
        entries, faults = {}, {}
        for name, split in splits.items():
            entries[name], faults[name] = _write_split(draft, name, split, shards, progress)
        (draft / "faults.txt").write_text(
            "".join(
                f"{splits[name].annotation_file}: {fault.kind}: {fault.where}: {fault.action}\n"
                for name, found in faults.items()
                for fault in found
            )
        )
        index = {"version": VERSION, "splits": entries}
        (draft / INDEX).write_text(json.dumps(index, indent=1) + "\n")
    return faults


def decoded(split: Split, name: str, progress: bool = True) -> Iterator[bytes | Fault]:
    """Yield every picture's file content, or a fault where it cannot be decoded."""
    bar = tqdm(split.samples, desc=name, unit="picture", disable=not progress)
    for sample in bar:
        try:
            content = sample.path.read_bytes()
            read_image(source(sample.path))
        except (OSError, DataError):
            yield Fault("picture file unreadable", str(sample.path), "dropped")
        else:
            yield content


def _check_room(splits: dict[str, Split], folder: Path) -> None:
    """Raise DataError if the pictures do not fit on the disk of a folder.

    MindSpore 2.10.0 ends the process with a segmentation fault where it cannot write a
    shard's header.
    """
    needed = sum(_bytes(sample) for split in splits.values() for sample in split.samples)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"a disk has room for the pictures, got {free >> 20:,} MB free of the "
            f"{needed >> 20:,} MB needed (at {folder})"
        )


def _bytes(sample: Sample) -> int:
    return sample.path.length if isinstance(sample.path, Row) else sample.path.stat().st_size


def _write_split(
    draft: Path, name: str, split: Split, shards: int, progress: bool
) -> tuple[dict[str, Any], tuple[Fault, ...]]:
    from mindspore.mindrecord import FileWriter

    faults = list(split.faults)
    place = 0
    try:
        writer = FileWriter(str(draft / f"{name}.mindrecord"), min(shards, len(split.samples)))
        writer.add_schema(SCHEMA, "pictures with boxes")
        for sample, rows, content in zip(
            split.samples, _rows(split), decoded(split, name, progress), strict=True
        ):
            if isinstance(content, Fault):
                faults.append(content)
                continue
            writer.write_raw_data([_row(place, sample, split.truth, rows, content)])
            place += 1
        if place:
            writer.commit()
    except RuntimeError as error:  # MindSpore's, such as for a full disk
        free = shutil.disk_usage(draft).free >> 20
        raise DataError(
            f"shards can be written, got {reason(error)} with {free:,} MB free (at {draft})"
        ) from error
    if place == 0:
        raise DataError(f"a split has a picture that can be read, got none in {name!r}")
    files = {path.name: path.stat().st_size for path in sorted(draft.glob(f"{name}.mindrecord*"))}
    categories = [
        {"id": number, "name": category}
        for number, category in zip(split.category_ids, split.categories, strict=True)
    ]
    return {"pictures": place, "categories": categories, "shards": files}, tuple(faults)


def _rows(split: Split) -> list[NDArray[np.intp]]:
    """Return for every picture its rows of the truth, in their order."""
    order = np.argsort(split.truth.sample, kind="stable")
    counts = np.bincount(split.truth.sample, minlength=len(split.samples))
    return np.split(order, np.cumsum(counts)[:-1])


def _row(
    place: int, sample: Sample, truth: Truth, rows: NDArray[np.intp], content: bytes
) -> dict[str, Any]:
    def padded(values: NDArray[Any], dtype: type[Any]) -> NDArray[Any]:
        taken = values[rows].astype(dtype)
        return taken if len(taken) else np.zeros((1, *values.shape[1:]), dtype)

    return {
        "place": place,
        "image_id": sample.image_id,
        "file_name": sample.path.name,
        "width": sample.width,
        "height": sample.height,
        "image": content,
        "length": len(content),
        "count": len(rows),
        "bbox": padded(truth.box, np.float64),
        "area": padded(truth.area, np.float64),
        "label": padded(truth.label, np.int32),
        "iscrowd": padded(truth.crowd, np.int32),
    }
