"""A drawn dataset: circles, squares and triangles of several sizes on noise.

It is learned in minutes, and its shapes have several scales so that several levels of a
pyramid matter: the longer side is log-uniform from 1/12 to 1/2 of the image.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nasfpn_runtime.data.lists import check_room, new_folder
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.image import Pixels

MOST_PIXELS = 4_000_000_000  # of a dataset: drawing them takes an hour on one core
CATEGORIES = ("circle", "square", "triangle")

_LEAST, _MOST = 6, 16  # range of the number of shapes tried in an image
_TRIES = 20  # positions tried for a shape before it is left out
_GAP = 1.0  # px between boxes, at least
_GROUND, _SHAPE = (30, 110), (150, 255)  # ranges of each colour channel
_SAMPLES = 4  # subpixels per pixel and axis, for smooth edges
_TILT = math.radians(20)

Points = NDArray[np.float64]


def write_shapes(
    folder: Path, *, train: int = 160, val: int = 40, test: int = 40, size: int = 128, seed: int = 0
) -> None:
    """Write a COCO folder with the splits train2017, val2017 and test2017.

    An image depends only on the seed, its split, its index and the size; the same seed gives
    the same bytes. The folder appears atomically: a killed run leaves only a hidden draft.

    Args:
        train, val, test: number of images of each split, 1 or more.
        size: side of an image in px.

    Raises:
        DataError: the folder exists, the images have too many pixels, or do not fit on the disk.
    """
    pixels = (train + val + test) * size * size
    if pixels > MOST_PIXELS:
        raise DataError(
            f"pixels of all images must be at most {MOST_PIXELS:,}, got {pixels:,}, which take "
            f"about {pixels * 1e-6 / 3600:,.0f} hours; draw fewer or smaller images"
        )
    with new_folder(folder) as draft:
        check_room(2 * pixels, folder.parent)  # a drawn PNG takes 1.6 to 1.9 bytes per pixel
        (draft / "annotations").mkdir()
        for number, (split, count) in enumerate({"train": train, "val": val, "test": test}.items()):
            _write_split(draft, f"{split}2017", count, size, (seed, number))


def is_drawn(folder: Path, seed: int) -> bool:
    """Return whether a folder may be from :func:`write_shapes` with this seed.

    The boxes of its first image are compared.
    """
    try:
        data = json.loads((folder / "annotations" / "instances_train2017.json").read_bytes())
        size = data["images"][0]["width"]
        boxes = [row["bbox"] for row in data["annotations"] if row["image_id"] == 1]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    _, shapes = draw_picture(size, np.random.default_rng((seed, 0, 1)))
    return boxes == [_rounded(box) for _, box in shapes]


def _rounded(box: Points) -> list[float]:
    """Return x, y, width, height of a box, as in annotations."""
    x1, y1, x2, y2 = box
    return [round(float(value), 2) for value in (x1, y1, x2 - x1, y2 - y1)]


def _write_split(folder: Path, name: str, count: int, size: int, seed: tuple[int, int]) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (folder / name).mkdir()
    for number in range(1, count + 1):
        rng = np.random.default_rng((*seed, number))
        picture, shapes = draw_picture(size, rng)
        file_name = f"{number:06d}.png"
        Image.fromarray(picture).save(folder / name / file_name)
        images.append({"id": number, "file_name": file_name, "width": size, "height": size})
        for label, corners in shapes:
            box = _rounded(corners)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": box,
                    "area": round(box[2] * box[3], 2),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(CATEGORIES, start=1)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / f"instances_{name}.json").write_text(
        json.dumps(data), encoding="utf-8"
    )


def draw_picture(size: int, rng: np.random.Generator) -> tuple[Pixels, list[tuple[int, Points]]]:
    """Return a (size, size, 3) image and its shapes as (class, box); boxes do not overlap.

    A box is (4,) float64 xyxy px, tight around the shape.
    """
    ground = rng.uniform(*_GROUND, 3)
    canvas = ground + _noise(size, 8, 18, rng) + _noise(size, size, 8, rng)
    shapes: list[tuple[int, Points]] = []
    for _ in range(rng.integers(_LEAST, _MOST + 1)):
        label = int(rng.integers(len(CATEGORIES)))
        outline = place_shape(label, size, [box for _, box in shapes], rng)
        if outline is not None:
            colour = rng.uniform(*_SHAPE, 3) + _noise(size, 8, 10, rng)
            cover = coverage(outline, size)
            canvas += cover * (colour - canvas)
            shapes.append((label, bounds(outline)))
    return canvas.clip(0, 255).astype(np.uint8), shapes


def place_shape(
    label: int, size: int, taken: list[Points], rng: np.random.Generator
) -> Points | None:
    """Return the outline of a shape inside the image and apart from the taken boxes.

    None if no such position was found.
    """
    side = size / 12 * 6 ** rng.uniform()  # 1/12 to 6/12
    outline = _outline(label, rng.uniform(-_TILT, _TILT))
    x1, y1, x2, y2 = bounds(outline)
    outline = (outline - np.array([x1, y1])) * (side / max(x2 - x1, y2 - y1))
    room = size - bounds(outline)[2:]
    for _ in range(_TRIES):
        moved: Points = outline + rng.uniform(0, room)
        box = bounds(moved)
        if all(_apart(box, other) for other in taken):
            return moved
    return None


def _outline(label: int, tilt: float) -> Points:
    """Return the corners of a shape of radius 1 around the origin; a circle has 64."""
    corners = {"circle": 64, "square": 4, "triangle": 3}[CATEGORIES[label]]
    start = {4: math.pi / 4, 3: -math.pi / 2}.get(corners, 0.0)
    angles = start + tilt + 2 * math.pi * np.arange(corners) / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def coverage(outline: Points, size: int) -> NDArray[np.float64]:
    """Return (size, size, 1): the fraction of each pixel that the shape covers."""
    fine = Image.new("L", (size * _SAMPLES, size * _SAMPLES))
    # Pixel edge 3.0 is subpixel coordinate 3.0 * samples - 0.5, as Pillow counts centres.
    ImageDraw.Draw(fine).polygon([tuple(p) for p in outline * _SAMPLES - 0.5], fill=255)
    return np.asarray(fine.reduce(_SAMPLES), dtype=np.float64)[:, :, None] / 255


def _noise(size: int, cells: int, strength: float, rng: np.random.Generator) -> Points:
    """Return (size, size, 3) smooth noise with ``cells`` random values per side."""
    coarse = rng.normal(0, strength, (3, cells, cells)).astype(np.float32)
    planes = [
        np.asarray(Image.fromarray(p).resize((size, size), Image.Resampling.BICUBIC))
        for p in coarse
    ]
    stacked: Points = np.stack(planes, axis=-1).astype(np.float64)
    return stacked


def bounds(outline: Points) -> Points:
    """Return x1, y1, x2, y2 of the smallest box around an outline."""
    return np.concatenate([outline.min(axis=0), outline.max(axis=0)])


def _apart(a: Points, b: Points) -> bool:
    """Return whether two boxes are more than ``_GAP`` apart."""
    return bool((a[:2] > b[2:] + _GAP).any() or (b[:2] > a[2:] + _GAP).any())
