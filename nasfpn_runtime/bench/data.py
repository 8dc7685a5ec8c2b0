"""Time how fast training pictures are prepared: here, and by the model zoo's pipeline.

Both decode, vary, scale to 640 px and match the same pictures by the rules of the recipe
``modelzoo-r50-7x256-640``, and hand over batches: normalised by the model zoo, of bytes here,
where the device normalises them. The model zoo's goes the way that its
users take: its own functions write MindRecord and make the data set of it, with a worker
process a core for each step (MindSpore refuses its default of 24 where there are fewer cores).
Ours reads the picture files, with a process a core and nothing kept in memory between epochs.
Each runs in a process of its own; its clock starts at the first batch, when it is warm.

Run as a program it times one of them and prints images a second as JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nasfpn_runtime.errors import DataError

RECIPE = "modelzoo-r50-7x256-640"
LEVELS = (3, 4, 5, 6, 7)
BATCH = 8
LEAST = 400  # pictures that are timed; the split is gone through as often as this takes
DRAWN, BOXES, HEIGHT, WIDTH = 256, 7, 480, 640  # COCO has 7.3 boxes a picture


def compare(data: Path, modelzoo: Path | None, rounds: int) -> dict[str, list[float]]:
    """Time each pipeline ``rounds`` times in turn; return images a second.

    Args:
        data: a data set with a split ``train``; for the model zoo a COCO folder.
        modelzoo: a checkout of research/cv/nas-fpn, which needs OpenCV; None leaves it out.

    Raises:
        DataError: the model zoo's pipeline does not run.
    """
    sides = ["project"] if modelzoo is None else ["project", "modelzoo"]
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            command = [sys.executable, "-m", "nasfpn_runtime.bench.data", side, str(data.resolve())]
            command += [] if modelzoo is None else [str(modelzoo.resolve())]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise DataError(f"a pipeline runs, got {last} (at {' '.join(command[2:])})")
            speeds[side].append(json.loads(done.stdout.splitlines()[-1]))
    return speeds


def draw_pictures(folder: Path) -> None:
    """Write a COCO folder of JPEGs: 640x480, drawn shapes, 7 boxes each."""
    from PIL import Image

    from nasfpn_runtime.data.drawn import CATEGORIES, draw_picture

    (folder / "train2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for number in range(1, DRAWN + 1):
        picture, shapes = draw_picture(HEIGHT, np.random.default_rng((0, number)))
        name = f"{number:012d}.jpg"
        wide = Image.fromarray(picture).resize((WIDTH, HEIGHT))
        wide.save(folder / "train2017" / name, quality=90)
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for label, corners in shapes[:BOXES]:
            x1, y1, x2, y2 = corners * ([WIDTH / HEIGHT, 1] * 2)
            boxes.append({"id": len(boxes) + 1, "image_id": number, "category_id": label + 1})
            boxes[-1] |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
            boxes[-1]["area"] = (x2 - x1) * (y2 - y1)
    categories = [{"id": i, "name": name} for i, name in enumerate(CATEGORIES, start=1)]
    content = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(content))


@contextmanager
def drawn(data: Path | None) -> Iterator[Path]:
    """Yield ``data``, or a folder of :func:`draw_pictures` that is gone afterwards."""
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory() as folder:
        draw_pictures(Path(folder))
        yield Path(folder)


def described(data: Path) -> str:
    """Return what the pictures are like, in a few words."""
    from nasfpn_runtime.data.dataset import load_split

    samples = load_split(data).samples
    width, height, boxes = (
        sum(values) / len(samples)
        for values in (
            [s.width for s in samples],
            [s.height for s in samples],
            [len(s.boxes) for s in samples],
        )
    )
    return f"{len(samples)} pictures of {width:.0f}x{height:.0f}, {boxes:.1f} boxes each"


def time_project(data: Path) -> float:
    """Return images a second of ``TrainLoader`` with a process a core."""
    from nasfpn_runtime.batches.loader import TrainLoader
    from nasfpn_runtime.data.dataset import load_split
    from nasfpn_runtime.recipe.recipe import load_recipe

    recipe = load_recipe(RECIPE, [f"training.batch={BATCH}"])
    workers = len(os.sched_getaffinity(0))
    with TrainLoader(load_split(data), recipe, LEVELS, 0, workers=workers, cache_bytes=0) as loader:
        epochs = range(_epochs(len(loader)))
        return _speed(len(b.images) for epoch in epochs for b in loader.epoch(epoch))


def time_modelzoo(data: Path, modelzoo: Path) -> float:
    """Return images a second of the model zoo's ``create_retinanet_dataset``."""
    annotations = next((data / "annotations").glob("instances_train*.json"))
    names = [c["name"] for c in json.loads(annotations.read_text())["categories"]]
    with tempfile.TemporaryDirectory() as scratch:
        split = annotations.stem.removeprefix("instances_")
        sys.argv = ["train.py", "--coco_root", str(data), "--mindrecord_dir", scratch]
        sys.argv += ["--train_data_type", split]  # which it reads when it is imported
        sys.path.insert(0, str(modelzoo))
        dataset = importlib.import_module("src.dataset")
        dataset.config.coco_classes = ["background", *names]
        dataset.data_to_mindrecord_byte_image("coco", True, file_num=1)
        settings = {"num_parallel_workers": len(os.sched_getaffinity(0)), "is_training": True}
        path = str(Path(scratch) / "retinanet.mindrecord")
        length = dataset.create_retinanet_dataset(path, BATCH, 1, **settings).get_dataset_size()
        repeated = dataset.create_retinanet_dataset(path, BATCH, _epochs(length), **settings)
        batches = repeated.create_tuple_iterator(num_epochs=1, output_numpy=True)
        return _speed(len(batch[0]) for batch in batches)


def _epochs(length: int) -> int:
    return -(-(LEAST + BATCH) // (length * BATCH))


def _speed(sizes: Iterable[int]) -> float:
    """Return pictures a second after the first batch, from the sizes of batches as they come."""
    batches = iter(sizes)
    next(batches)
    started = time.perf_counter()
    return sum(batches) / (time.perf_counter() - started)


def main() -> None:
    """Time one pipeline: ``project DATA`` or ``modelzoo DATA CHECKOUT``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=["project", "modelzoo"])
    parser.add_argument("data", type=Path)
    parser.add_argument("modelzoo", type=Path, nargs="?")
    args = parser.parse_args()
    if args.side == "project":
        speed = time_project(args.data)
    else:
        speed = time_modelzoo(args.data, args.modelzoo)
    print(json.dumps(speed))


if __name__ == "__main__":
    main()
