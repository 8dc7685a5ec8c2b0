"""MindRecord folders made from small datasets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from nasfpn_runtime.data.dataset import Split, load_split
from nasfpn_runtime.data.mindrecord_writer import pack


def write(folder: Path, pictures: dict[str, bytes], size: tuple[int, int] = (16, 8)) -> Split:
    """Write a COCO folder of image files, all of one (width, height), with one box each."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "train").mkdir()
    width, height = size
    images, annotations = [], []
    for number, (name, content) in enumerate(pictures.items(), start=1):
        (folder / "train" / name).write_bytes(content)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        annotations.append({"image_id": number, "category_id": 1, "bbox": [1, 2, 3, 4]})
    categories = [{"id": 1, "name": "cat"}]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(data))
    return load_split(folder)


def encoded(tmp_path: Path, suffix: str, pixels: np.ndarray) -> bytes:
    """Return the content of an image file."""
    path = tmp_path / f"encoded.{suffix}"
    Image.fromarray(pixels).save(path)
    return path.read_bytes()


def packed(folder: Path, out: Path, *names: str, shards: int = 2) -> Path:
    """Pack splits of a dataset as MindRecord to a new folder ``out`` and return it."""
    pack({name: load_split(folder, name) for name in names}, out, shards=shards, progress=False)
    return out
