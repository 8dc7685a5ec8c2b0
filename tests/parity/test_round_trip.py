"""A .pth file of mmdetection's detector detects the same when it is imported.

The images are the first ten of the split ``val`` of the COCO folder in the environment variable
NASFPN_PARITY_DATA, or drawn ones. Both sides get the same input tensors.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasfpn_runtime import Detector
from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.drawn import draw_picture
from nasfpn_runtime.pictures.image import normalise
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.scoring import evaluate
from tools.cli import main

pytestmark = [pytest.mark.parity, pytest.mark.slow]

PICTURES = 10


def draw(folder: Path) -> Path:
    """Write a COCO folder of drawn images of many sizes, with one box in the first."""
    rng = np.random.default_rng(0)
    (folder / "val").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images = []
    for number in range(PICTURES):
        height, width = map(int, rng.integers(100, 301, 2))
        pixels, _ = draw_picture(300, rng)
        name = f"{number}.png"
        Image.fromarray(pixels[:height, :width]).save(folder / "val" / name)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
    truth = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "shape"}]}
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(truth))
    return folder


def fitted(folder: Path, count: int) -> Any:
    """Return the first images, scaled by the recipe of mmdetection's detector."""
    split = load_split(folder, "val")
    recipe = load_recipe("mmdet-r50-7x256-640")
    return Pictures(replace(split, samples=split.samples[:count]), recipe.data.image, recipe.data)


def inputs(pictures: Any, index: int) -> tuple[Any, Any]:
    """Return the input (1, 3, H, W) of an image, and its placement."""
    pixels, placement = pictures[index]
    return normalise(pixels, pictures.frame(index, 128))[None], placement


def assert_same_detections(ours: Any, theirs: tuple[Any, Any, Any]) -> None:
    """Check that each box has a counterpart of its class within .05 px and .0001 of score."""
    boxes, scores, labels = theirs
    assert len(ours) == len(boxes)
    near = (
        (np.abs(ours.boxes[:, None] - boxes).max(axis=2) < 0.05)
        & (np.abs(ours.scores[:, None] - scores) < 1e-4)
        & (ours.labels[:, None] == labels)
    )
    assert near.any(axis=0).all()
    assert near.any(axis=1).all()


@pytest.mark.parametrize(
    ("candidates", "count"),
    [(1000, PICTURES), (20, 2)],  # per level; with 20 the limit decides which boxes are detected
)
def test_an_imported_file_detects_what_mmdetection_detects(
    candidates: int,
    count: int,
    mmdet: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = os.environ.get("NASFPN_PARITY_DATA")
    pictures = fitted(Path(folder) if folder else draw(tmp_path / "drawn"), count)
    theirs = mmdet.detector()
    mmdet.fill(theirs)
    mmdet.spread(theirs, inputs(pictures, 0)[0])
    theirs.bbox_head.test_cfg.nms_pre = candidates
    source, target = str(tmp_path / "theirs.pth"), str(tmp_path / "ours.ckpt")
    mmdet.save(theirs, Path(source))
    setting = f"detection.pre_nms={candidates}"
    assert main(["import", source, "--source", "mmdet", "-o", target, "--set", setting]) == 0

    monkeypatch.setattr(evaluate, "BATCH", 1)  # few images have the same size
    detections = dict(evaluate.detect(Detector.load(target), pictures, progress=False))
    assert len(detections) == count
    for index, sample in enumerate(pictures.split.samples):
        image, placement = inputs(pictures, index)
        picture = placement.height, placement.width
        scale = placement.scale_x, placement.scale_y
        expected = mmdet.detect(theirs, image, picture, scale)
        assert len(expected[0]) > 20
        assert_same_detections(detections[sample.image_id], expected)
