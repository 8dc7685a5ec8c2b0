"""Write COCO folders: ``annotations/instances_<split>.json`` and ``<split>/``.

Ids of images and classes, areas and crowd flags are kept, and boxes exactly. Annotations get new
ids, counted from 1 in each split. What is not read is not written: polygons, for example.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.data.writers.common import by_image, check_classes, exact

PICTURES = "{split}"
BY_STEM = False
UNFIT = re.compile(r"\\")  # a separator of folders in files from Windows
FRAME = "stored"  # of the boxes, where the size of an image does not tell
SUFFIXES: tuple[str, ...] = ()


def check(splits: dict[str, Split]) -> None:
    """Check that the classes of each split have different names.

    Raises:
        DataError: see :func:`check_classes`.
    """
    for name, split in splits.items():
        check_classes({name: split}, "COCO", lambda name: True)


def write_split(folder: Path, name: str, split: Split, names: list[str]) -> None:
    """Write the annotation file of a split."""
    images: list[dict[str, object]] = []
    rows: list[dict[str, object]] = []
    for (sample, listed), picture in zip(by_image(split), names, strict=True):
        images.append(
            {
                "id": sample.image_id,
                "file_name": picture,
                "width": sample.width,
                "height": sample.height,
            }
        )
        for each in listed:
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": sample.image_id,
                    "category_id": split.category_ids[each.label],
                    "bbox": [exact(value) for value in each.box],
                    "area": exact(each.area),
                    "iscrowd": int(each.crowd),
                }
            )
    categories = [
        {"id": number, "name": category}
        for number, category in zip(split.category_ids, split.categories, strict=True)
    ]
    data = {"images": images, "annotations": rows, "categories": categories}
    (folder / "annotations").mkdir(exist_ok=True)
    file = folder / "annotations" / f"instances_{name}.json"
    file.write_text(json.dumps(data), encoding="utf-8")


def finish(folder: Path, splits: dict[str, Split]) -> None:
    """Splits share nothing."""
