"""COCO folders of a few small images, and annotation files of any content for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from nasfpn_runtime.data.dataset import Split, load_split

Entry = dict[str, Any]

CATEGORIES: list[Entry] = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
GOOD: Entry = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [5, 6, 10, 8], "area": 60}


def picture(number: int, **changes: object) -> Entry:
    """Return an entry of ``images`` for ``<number>.png``."""
    return {"id": number, "file_name": f"{number}.png", "width": 40, "height": 30, **changes}


def annotation(**changes: object) -> Entry:
    """Return an entry of ``annotations`` with id 2, in image 1."""
    return {**GOOD, "id": 2, **changes}


def write_pictures(folder: Path) -> Path:
    """Write the images 1.png to 3.png, 40 x 30 px, and no annotation file; return the folder."""
    (folder / "annotations").mkdir()
    (folder / "train2017").mkdir()
    for number in (1, 2, 3):
        Image.new("RGB", (40, 30)).save(folder / "train2017" / f"{number}.png")
    (folder / "train2017" / "text.png").write_text("not an image")
    Image.new("RGB", (40, 30)).save(folder / "outside.png")
    return folder


def load(
    folder: Path,
    images: list[Any],
    annotations: list[Any],
    categories: list[Entry] = CATEGORIES,
) -> Split:
    """Write the annotation file of the split ``train`` and read the split."""
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(data))
    return load_split(folder)
