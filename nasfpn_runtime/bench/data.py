"""Time the preparation of training images, here and in the model zoo's pipeline.

Both pipelines decode, augment, scale to 640 px and match the same images by the rules of the
recipe ``modelzoo-r50-7x256-640``, and deliver batches. Those of the model zoo are normalised; those
of this project are bytes, which the device normalises.

The model zoo's pipeline is used as its users do: its own functions write MindRecord and build the
dataset from it, with one worker process per core for each operation (MindSpore refuses its default
of 24 if there are fewer cores). This project's pipeline reads the image files, with one worker
process per core and no cache between epochs. Each pipeline runs in a process of its own; its clock
starts at the first batch, when it is warm.

As a program, ``python -m nasfpn_runtime.bench.data`` times one pipeline and prints its images per
second as JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nasfpn_runtime.processes import last_line, output_of

RECIPE = "modelzoo-r50-7x256-640"
LEVELS = (3, 4, 5, 6, 7)
BATCH = 8
MIN_PICTURES = 400  # images to time; the split is repeated until there are as many
DRAWN, BOXES, HEIGHT, WIDTH = 256, 7, 480, 640  # COCO has 7.3 boxes per image


def compare(data: Path, modelzoo: Path | None, rounds: int) -> dict[str, list[float]]:
    """Return the images per second of each pipeline, by its name.

    The pipelines are timed in turn, each in ``rounds`` processes.

    Args:
        data: a dataset with a split ``train``; a COCO folder if ``modelzoo`` is given.
        modelzoo: a checkout of research/cv/nas-fpn, which needs OpenCV; None to time only
            this project.

    Raises:
        ProcessError: a pipeline failed.
    """
    pipelines = ["project"] if modelzoo is None else ["project", "modelzoo"]
    speeds: dict[str, list[float]] = {pipeline: [] for pipeline in pipelines}
    for _ in range(rounds):
        for pipeline in pipelines:
            folders = [data] if modelzoo is None else [data, modelzoo]
            arguments = [pipeline, *(str(folder.resolve()) for folder in folders)]
            printed = output_of("nasfpn_runtime.bench.data", *arguments)
            speeds[pipeline].append(json.loads(last_line(printed)))
    return speeds


def draw_pictures(folder: Path) -> None:
    """Write a COCO folder of JPEG images of 640x480 with up to 7 drawn shapes each."""
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
    (folder / "annotations" / "instances_train2017.json").write_text(
        json.dumps(content), encoding="utf-8"
    )


@contextmanager
def drawn(data: Path | None) -> Iterator[Path]:
    """Yield ``data``, or a temporary folder of :func:`draw_pictures` if it is None."""
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory() as folder:
        draw_pictures(Path(folder))
        yield Path(folder)


def described(data: Path) -> str:
    """Return the number of images, and their mean size and number of boxes, as text."""
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
    return f"{len(samples)} images of {width:.0f}x{height:.0f}, {boxes:.1f} boxes each"


def time_project(data: Path) -> float:
    """Return the images per second of ``TrainLoader`` with one worker process per core."""
    from nasfpn_runtime.batches.loader import TrainLoader
    from nasfpn_runtime.data.dataset import load_split
    from nasfpn_runtime.recipe.recipe import load_recipe

    recipe = load_recipe(RECIPE, [f"training.batch={BATCH}"])
    workers = len(os.sched_getaffinity(0))
    with TrainLoader(load_split(data), recipe, LEVELS, 0, workers=workers, cache_bytes=0) as loader:
        epochs = range(_epochs(len(loader)))
        return _speed(len(b.images) for epoch in epochs for b in loader.epoch(epoch))


def time_modelzoo(data: Path, modelzoo: Path) -> float:
    """Return the images per second of the model zoo's ``create_retinanet_dataset``."""
    annotations = next((data / "annotations").glob("instances_train*.json"))
    names = [c["name"] for c in json.loads(annotations.read_text(encoding="utf-8"))["categories"]]
    with tempfile.TemporaryDirectory() as scratch:
        split = annotations.stem.removeprefix("instances_")
        sys.argv = ["train.py", "--coco_root", str(data), "--mindrecord_dir", scratch]
        sys.argv += ["--train_data_type", split]  # src.dataset reads them when it is imported
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
    """Return how often to repeat an epoch of ``length`` batches."""
    return -(-(MIN_PICTURES + BATCH) // (length * BATCH))


def _speed(sizes: Iterable[int]) -> float:
    """Return images per second after the first batch, from the sizes of arriving batches."""
    batches = iter(sizes)
    next(batches)
    started = time.perf_counter()
    return sum(batches) / (time.perf_counter() - started)


def main() -> None:
    """Time one pipeline: ``project DATA`` or ``modelzoo DATA CHECKOUT``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pipeline", choices=["project", "modelzoo"])
    parser.add_argument("data", type=Path)
    parser.add_argument("modelzoo", type=Path, nargs="?")
    args = parser.parse_args()
    if args.pipeline == "project":
        speed = time_project(args.data)
    else:
        speed = time_modelzoo(args.data, args.modelzoo)
    print(json.dumps(speed))


if __name__ == "__main__":
    main()
