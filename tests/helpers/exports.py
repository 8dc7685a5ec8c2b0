"""Small datasets as the usual annotation tools export them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Entry = dict[str, Any]

WIDTH, HEIGHT = 64, 48
ORIENTATION = 0x0112  # the EXIF entry


def write(path: Path, content: str | Entry | list[str]) -> Path:
    """Write a text, JSON, or lines of text, and the folders of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    text = content if isinstance(content, str) else "".join(f"{line}\n" for line in content)
    path.write_text(text, encoding="utf-8")
    return path


def image(path: Path, width: int = WIDTH, height: int = HEIGHT, orientation: int = 1) -> Path:
    """Write an image of stored size ``width`` x ``height``, with an EXIF orientation unless 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation != 1:
        exif[ORIENTATION] = orientation
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path, exif=exif)
    return path


def coco(
    images: Mapping[Any, str | Entry],
    annotations: list[Entry],
    categories: Mapping[Any, str] | None = None,
) -> Entry:
    """Return a COCO file: images by id, as file names or entries; categories by id."""
    entries = [
        {
            "id": key,
            "width": WIDTH,
            "height": HEIGHT,
            **({"file_name": given} if isinstance(given, str) else given),
        }
        for key, given in images.items()
    ]
    named = [{"id": key, "name": name} for key, name in (categories or {1: "cat"}).items()]
    return {"images": entries, "annotations": annotations, "categories": named}


def box(image_id: Any, bbox: list[Any] | None = None, category_id: Any = 1, **more: Any) -> Entry:
    """Return a COCO annotation; its box is 4, 6, 20, 10 unless another is given."""
    given = [4, 6, 20, 10] if bbox is None else bbox
    return {"image_id": image_id, "category_id": category_id, "bbox": given, **more}


def voc(filename: str, corners: tuple[Any, ...] = (5, 7, 24, 16), size: str = "") -> str:
    """Return a VOC annotation of a cat, whose box is 4, 6, 20, 10 from 0 by default."""
    keys = ("xmin", "ymin", "xmax", "ymax")
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, corners, strict=True))
    return (
        f"<annotation><filename>{filename}</filename>{size}"
        f"<object><name>cat</name><bndbox>{inner}</bndbox></object></annotation>"
    )


# The box 4, 6, 20, 10 in an image of 64 x 48 px: centre (14, 11), so 14/64, 11/48, 20/64, 10/48.
YOLO_LINE = f"0 {14 / WIDTH!r} {11 / HEIGHT!r} {20 / WIDTH!r} {10 / HEIGHT!r}"
