"""Small datasets in COCO's format, and loaders, for the tests of training batches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nasfpn_runtime.batches.loader import Batch, TrainLoader
from nasfpn_runtime.data.dataset import Split, load_split
from nasfpn_runtime.pictures.anchors import anchor_grid
from nasfpn_runtime.pictures.augment import Augment
from nasfpn_runtime.pictures.image import Pixels
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.recipe.settings import Anchors, Data, Matching, Training

SIZE, LEVELS = (64, 64), (3, 4)
ANCHORS = anchor_grid(LEVELS, SIZE, scale=2.0, octaves=1)
MATCHING = Matching(0.5, 0.4)
PLAIN = Data(SIZE, "squash", augment=Augment())
BOX = {"category_id": 5, "bbox": [8, 6, 16, 9], "area": 144, "iscrowd": 0}
ARRAYS = ("images", "sizes", "labels", "deltas")  # of a batch
NOISE = 26  # pictures that write_noise makes


def write(
    folder: Path, pictures: Sequence[Pixels], annotations: Sequence[Sequence[dict[str, Any]]]
) -> Split:
    """Write a training split: pictures with ids from 100, each with its annotations."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "train2017").mkdir()
    images: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for number, (picture, own) in enumerate(zip(pictures, annotations, strict=True)):
        name = f"{number}.png"
        Image.fromarray(picture).save(folder / "train2017" / name)
        height, width = picture.shape[:2]
        images.append({"id": 100 + number, "file_name": name, "width": width, "height": height})
        entries += [
            {**a, "id": len(entries) + i, "image_id": 100 + number} for i, a in enumerate(own)
        ]
    categories = [{"id": 5, "name": "cat"}, {"id": 9, "name": "dog"}]
    data = {"images": images, "annotations": entries, "categories": categories}
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(data))
    return load_split(folder)


def write_grey(folder: Path, annotations: Sequence[Sequence[dict[str, Any]]]) -> Split:
    """Write pictures of 32 x 24 whose grey value is their index."""
    pictures = [np.full((24, 32, 3), number, np.uint8) for number in range(len(annotations))]
    return write(folder, pictures, annotations)


def write_noise(folder: Path, boxes: Sequence[Sequence[float]], first: int = 1) -> Split:
    """Write pictures of noise, 40 x 30, all with the same boxes; ``first`` scales the first one."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (30, 40, 3), dtype=np.uint8) for _ in range(NOISE)]
    pictures[0] = pictures[0].repeat(first, axis=0).repeat(first, axis=1)
    annotations = [{**BOX, "bbox": list(box), "area": box[2] * box[3]} for box in boxes]
    return write(folder, pictures, [annotations] * NOISE)


def make_loader(
    split: Split,
    data: Data = PLAIN,
    *,
    batch: int = 4,
    accumulate: int = 1,
    seed: int = 0,
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    cache_bytes: int = 1 << 30,
    **sections: Any,
) -> TrainLoader:
    """Return a loader by a small recipe; ``sections`` are further sections of it."""
    settings = {
        "anchors": Anchors(scale=2.0, octaves=1),
        "training": Training(batch=batch, accumulate=accumulate),
        "matching": MATCHING,
        **sections,
    }
    return TrainLoader(
        split,
        Recipe("test", data=data, **settings),
        LEVELS,
        seed,
        workers=workers,
        shard=shard,
        cache_bytes=cache_bytes,
    )


def grey_values(batch: Batch) -> list[int]:
    """Return the grey values of the pictures of a batch, which are their indices."""
    return [int(value) for value in batch.images[:, 0, 0, 0]]


def assert_batches_equal(ours: Sequence[Batch], expected: Sequence[Batch]) -> None:
    """Compare ids and arrays of all batches."""
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected, strict=True):
        assert a.pictures == b.pictures
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
