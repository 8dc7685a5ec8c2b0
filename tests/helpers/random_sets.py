"""COCO folders with anything that a dataset may have, drawn at random."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("信号 灯", "dog", "a/b", "yes", "1.5", "<b>&amp;", "ワンちゃん🐶", "without boxes")
FOLDERS = ("", "", "day 1", "day 1/front", "昼", "images")
NAMES = ("0001", "a b", "写真", "x.y", "-1", "labels", "o'clock #5")
SUFFIXES = (".png", ".PNG", ".jpg", ".webp", ".bmp")


def write_random(folder: Path, seed: int, splits: tuple[str, ...] = ("train",)) -> Path:
    """Write a COCO folder; the first image of each split has a box of class 0, the second none.

    Images have names of one another in other folders, blanks and letters of any script. Boxes
    have decimals, may be partly outside their image, and may be crowd regions. Ids are not
    counted from 1. The content of each image is unique.
    """
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, len(CLASSES)))
    names = [*rng.permutation(CLASSES[:-1])[:count].tolist(), CLASSES[-1]]
    ids = sorted(rng.choice(1000, len(names), replace=False).tolist())
    categories = [{"id": i, "name": name} for i, name in zip(ids, names, strict=True)]
    (folder / "annotations").mkdir(parents=True)
    for split in splits:
        data = {"images": [], "annotations": [], "categories": categories}
        _add_images(folder / split, rng, data)
        file = folder / "annotations" / f"instances_{split}.json"
        file.write_text(json.dumps(data))
    return folder


def _add_images(folder: Path, rng: np.random.Generator, data: dict[str, Any]) -> None:
    total = int(rng.integers(3, 9))
    numbers = rng.choice(10_000, total, replace=False).tolist()
    for place, number in enumerate(numbers):
        path = _free(folder, rng)
        width, height = (int(side) for side in rng.integers(8, 60, 2))
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        name = path.relative_to(folder).as_posix()
        size = {"width": width, "height": height}
        data["images"].append({"id": number, "file_name": name, **size})
        boxes = 0 if place == 1 else int(rng.integers(place == 0, 6))
        for index in range(boxes):
            data["annotations"].append(_box(rng, data, number, width, height, first=index == 0))
    rng.shuffle(data["annotations"])


def _free(folder: Path, rng: np.random.Generator) -> Path:
    while True:
        name = f"{rng.choice(NAMES)}{rng.choice(SUFFIXES)}"
        path = folder / str(rng.choice(FOLDERS)) / name
        if not path.exists():
            return path


def _box(
    rng: np.random.Generator, data: dict[str, Any], number: int, w: int, h: int, first: bool
) -> dict[str, Any]:
    decimals = int(rng.choice([0, 1, 2, 9]))
    x, y = rng.uniform(-5, w - 2), rng.uniform(-5, h - 2)
    sides = rng.uniform(max(1, 1 - x), w + 5 - x), rng.uniform(max(1, 1 - y), h + 5 - y)
    box = [round(float(value), decimals) for value in (x, y, *sides)]
    box[2:] = [max(side, 1 - min(start, 0)) for start, side in zip(box[:2], box[2:], strict=True)]
    ids = [category["id"] for category in data["categories"]][:-1]
    return {
        "id": len(data["annotations"]) + 50,
        "image_id": number,
        "category_id": ids[0] if first else int(rng.choice(ids)),
        "bbox": box,
        "area": round(float(rng.uniform(1, 500)), 3),
        "iscrowd": int(not first and rng.random() < 0.3),
    }
