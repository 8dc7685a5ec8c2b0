"""A COCO folder as samples ready to train on, and a list of what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasfpn_runtime.data.samples import Fault, Reader, Sample, Truth, is_id
from nasfpn_runtime.errors import DataError

__all__ = [
    "CocoSplit",
    "Fault",
    "Sample",
    "check_same_categories",
    "fault_report",
    "find_split",
    "load_split",
]

EXAMPLES = 3  # places named in a line of the fault report


@dataclass(frozen=True, eq=False)
class CocoSplit:
    """One split of a data set.

    Attributes:
        samples: pictures in the order of the file, those without boxes included.
        categories: names, by class number.
        category_ids: ids in the annotation file, ascending, by class number.
        annotation_file: where it was read from.
        faults: what is wrong with it.
        truth: the annotations for evaluation.
    """

    samples: tuple[Sample, ...]
    categories: tuple[str, ...]
    category_ids: tuple[int, ...]
    annotation_file: Path
    faults: tuple[Fault, ...]
    truth: Truth


def load_split(folder: Path, split: str = "train") -> CocoSplit:
    """Read one split of a COCO folder.

    The split ``train`` is ``annotations/instances_train.json`` or, if there is just one,
    the file of that name with a number (``instances_train2017.json``); its pictures are
    in the folder of the same stem (``train2017/``). Faults are listed, and what they
    touch is dropped, except that boxes partly outside are clipped and annotations with
    a repeated id are kept.

    Raises:
        DataError: a file or folder is missing, is not COCO, or no picture has a box.
    """
    file, pictures = find_split(folder, split)
    data = _read(file)
    ids, names = _categories(data["categories"], file)
    reader = Reader(pictures, {value: label for label, value in enumerate(ids)})
    for index, entry in enumerate(data["images"]):
        reader.add_picture(f"images[{index}]", entry)
    for index, entry in enumerate(data["annotations"]):
        reader.add_annotation(f"annotations[{index}]", entry)
    samples = tuple(draft.sample() for draft in reader.drafts)
    if not any(len(sample.boxes) for sample in samples):
        report = "; ".join(fault_report(reader.faults).splitlines()) or "the file lists none"
        raise DataError(f"a data set has a picture with a box, got none: {report} (at {file})")
    return CocoSplit(samples, names, ids, file, tuple(reader.faults), reader.truth())


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


def check_same_categories(a: CocoSplit, b: CocoSplit) -> None:
    """Raise DataError unless both splits have the same category names in the same order."""
    if a.categories != b.categories:
        raise DataError(
            f"splits have the same categories, got {', '.join(a.categories)} "
            f"(at {a.annotation_file}) and {', '.join(b.categories)} (at {b.annotation_file})"
        )


def fault_report(faults: Sequence[Fault]) -> str:
    """Return a line per kind of fault: count, what was done and the first examples."""
    groups: dict[tuple[str, str], list[str]] = {}
    for fault in faults:
        groups.setdefault((fault.kind, fault.action), []).append(fault.where)
    return "\n".join(
        f"{len(places)} x {kind}, {action}: {', '.join(places[:EXAMPLES])}"
        + (", ..." if len(places) > EXAMPLES else "")
        for (kind, action), places in groups.items()
    )


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
