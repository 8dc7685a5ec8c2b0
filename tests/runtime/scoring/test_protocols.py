"""Protocols: the images that each scores, and metrics equal to those of its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nasfpn_runtime.data.dataset import Split, load_split
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.scoring.coco_eval import evaluate, table_lines
from nasfpn_runtime.scoring.protocols import PROTOCOLS, select

SIDE, PICTURES = 200, 40


def write(folder: Path, boxes: list[tuple[int, list[float], int]]) -> Split:
    """Write images 10, 11, ... and annotations (image, bbox, iscrowd) of two classes."""
    (folder / "annotations").mkdir()
    (folder / "val2017").mkdir()
    Image.new("RGB", (SIDE, SIDE)).save(folder / "val2017" / "a.png")
    images = [
        {"id": 10 + n, "file_name": "a.png", "width": SIDE, "height": SIDE} for n in range(PICTURES)
    ]
    annotations = [
        {
            "id": number,
            "image_id": 10 + picture,
            "category_id": 1 + number % 2,
            "bbox": bbox,
            "area": bbox[2] * bbox[3],
            "iscrowd": crowd,
        }
        for number, (picture, bbox, crowd) in enumerate(boxes, start=1)
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    data = {
        "info": {},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(data))
    return load_split(folder, "val")


def zoo_pictures(file: Path) -> list[int]:
    """Return the image ids that the model zoo's ``create_coco_label(is_training=False)`` keeps."""
    coco = COCO(str(file))
    kept = []
    for image_id in coco.getImgIds():
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image_id, iscrowd=None))
        if annotations and not any(entry["iscrowd"] for entry in annotations):
            kept.append(image_id)
    return kept


def random_annotations(rng: np.random.Generator) -> list[tuple[int, list[float], int]]:
    """Return random annotations: one in ten a crowd, and every fifth image without any."""
    boxes = []
    for _ in range(3 * PICTURES):
        picture = int(rng.integers(PICTURES))
        if picture % 5:
            corner, sides = rng.uniform(0, 120, 2), rng.uniform(5, 80, 2)
            bbox = [round(float(v), 2) for v in (*corner, *sides)]
            boxes.append((picture, bbox, int(rng.random() < 0.1)))
    return boxes


def random_detections(split: Split, rng: np.random.Generator) -> list[tuple[int, Detections]]:
    """Return detections for every image: its true boxes, shifted, and as many random boxes."""
    results = []
    for sample in split.samples:
        count = len(sample.boxes)
        shifted = sample.boxes + rng.uniform(-4, 4, (count, 4))
        low = rng.uniform(0, 100, (count, 2))
        anywhere = np.concatenate([low, low + rng.uniform(5, 60, (count, 2))], axis=1)
        boxes = np.concatenate([shifted, anywhere]).astype(np.float32)
        labels = np.concatenate([sample.labels, rng.integers(0, 2, count)]).astype(np.int32)
        scores = rng.uniform(0.1, 1, 2 * count).astype(np.float32)
        results.append((sample.image_id, Detections(boxes, scores, labels)))
    return results


def reference(file: Path, results: list[tuple[int, Detections]]) -> list[float]:
    """Return the metrics of COCOeval called as in the model zoo's ``eval.py``."""
    truth, kept = COCO(str(file)), zoo_pictures(file)
    rows: list[dict[str, Any]] = [
        {
            "image_id": image_id,
            "category_id": int(label) + 1,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": float(score),
        }
        for image_id, detections in results
        if image_id in kept
        for box, score, label in zip(
            detections.boxes.astype(float).tolist(),
            detections.scores,
            detections.labels,
            strict=True,
        )
    ]
    scorer = COCOeval(truth, truth.loadRes(rows), "bbox")
    scorer.params.imgIds = kept
    scorer.evaluate()
    scorer.accumulate()
    scorer.summarize()
    return [float(value) for value in scorer.stats]


@pytest.mark.parametrize("seed", range(3))
def test_modelzoo_metrics_equal_those_of_its_eval(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    split = write(tmp_path, random_annotations(rng))
    chosen = select(split, PROTOCOLS["modelzoo"])
    ids = [sample.image_id for sample in chosen.samples]
    assert ids == zoo_pictures(split.annotation_file)
    assert 0 < len(ids) < PICTURES * 4 // 5
    results = random_detections(split, rng)
    metrics = evaluate(chosen, [r for r in results if r[0] in ids])
    expected = reference(split.annotation_file, results)
    np.testing.assert_allclose([metrics[line.name] for line in table_lines()], expected, atol=1e-12)
    assert metrics["AP"] != pytest.approx(evaluate(split, results)["AP"])


def test_coco_scores_every_image(tmp_path: Path) -> None:
    split = write(tmp_path, [(0, [0, 0, 9, 9], 0), (1, [0, 0, 9, 9], 1)])
    assert select(split, PROTOCOLS["coco"]).samples == split.samples
    assert PROTOCOLS["coco"].detection is None


def test_the_modelzoo_thresholds_are_those_of_its_recipe() -> None:
    rule = PROTOCOLS["modelzoo"].detection
    assert rule == load_recipe("modelzoo-r50-7x256-640").detection
    assert rule is not None
    assert rule.maximum == 100  # whatever the recipe of a checkpoint has


def test_a_split_without_images_to_score_is_refused(tmp_path: Path) -> None:
    boxes: list[tuple[int, list[float], int]] = [(0, [0, 0, 9, 9], 0), (0, [0, 0, 9, 9], 1)]
    split = write(tmp_path, boxes)
    with pytest.raises(DataError, match=r"got none of 40 .*instances_val2017\.json"):
        select(split, PROTOCOLS["modelzoo"])
