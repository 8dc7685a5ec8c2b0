"""COCO's metrics: computed by hand, and equal to plain pycocotools for a file without faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nasfpn_runtime.data.dataset import Split, load_split
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.scoring.coco_eval import evaluate, summary, table_lines

Boxes = list[tuple[float, float, float, float]]

SIDE = 200
CATEGORIES = [{"id": 4, "name": "cat"}, {"id": 2, "name": "dog"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "val2017" / "a.png")
    return tmp_path


def write(folder: Path, pictures: int, annotations: list[dict[str, Any]]) -> Split:
    """Write a file without "info" and "licenses"; image ids are 10, 11, ..."""
    images = [
        {"id": 10 + n, "file_name": "a.png", "width": SIDE, "height": SIDE} for n in range(pictures)
    ]
    for number, entry in enumerate(annotations, start=1):
        w, h = entry["bbox"][2:]
        entry.update({"id": number, "iscrowd": entry.get("iscrowd", 0), "area": w * h})
    data = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(data))
    return load_split(folder, "val")


def truth(bbox: list[float], image: int = 10, category: int = 2, **more: int) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": bbox, **more}


def detections(boxes: Boxes, scores: list[float], labels: list[int]) -> Detections:
    return Detections(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(scores, dtype=np.float32),
        np.array(labels, dtype=np.int32),
    )


def test_precision_by_hand(folder: Path) -> None:
    split = write(folder, 1, [truth([0, 0, 20, 20]), truth([50, 50, 20, 20])])
    # In order of score: correct, wrong, correct. Precision is 1 up to recall 0.5 and 2/3 up to 1.
    # Of the 101 recalls 0, 0.01 .. 1 the first 51 are at most 0.5: (51 + 50 * 2/3) / 101.
    boxes: Boxes = [(0, 0, 20, 20), (100, 100, 120, 120), (50, 50, 70, 70)]
    metrics = evaluate(split, [(10, detections(boxes, [0.9, 0.8, 0.7], [0, 0, 0]))])
    expected = (51 + 50 * 2 / 3) / 101
    for name in ("AP", "AP50", "AP75", "APs", "AP/dog"):
        assert metrics[name] == pytest.approx(expected)
    assert (metrics["AR1"], metrics["AR10"], metrics["AR100"]) == (0.5, 1.0, 1.0)
    # No object is medium or large (20 x 20 < 32 x 32), and there is no cat.
    assert {metrics[name] for name in ("APm", "APl", "ARm", "ARl", "AP/cat")} == {-1.0}


def test_a_loose_box_counts_at_low_thresholds(folder: Path) -> None:
    split = write(folder, 1, [truth([0, 0, 20, 10])])
    # IoU 140 / 200 = 0.7: correct at 0.5, 0.55, 0.6, 0.65 and 0.7, five of ten thresholds.
    metrics = evaluate(split, [(10, detections([(0, 0, 14, 10)], [0.9], [0]))])
    assert metrics["AP50"] == pytest.approx(1)
    assert metrics["AP75"] == 0
    assert metrics["AP"] == pytest.approx(0.5)


def test_no_detections_score_zero(folder: Path) -> None:
    split = write(folder, 2, [truth([0, 0, 20, 20]), truth([0, 0, 50, 50], 11, 4)])
    for results in ([], [(10, detections([], [], []))]):
        metrics = evaluate(split, results)
        assert {metrics[name] for name in ("AP", "AP50", "AR100", "AP/cat", "AP/dog")} == {0.0}


def test_a_dropped_box_does_not_count_as_missed(folder: Path) -> None:
    split = write(folder, 1, [truth([0, 0, 20, 20]), truth([50, 50, 0, 20])])
    assert len(split.faults) == 1
    assert evaluate(split, [(10, detections([(0, 0, 20, 20)], [0.9], [0]))])["AP"] == pytest.approx(
        1
    )


def test_detections_in_a_crowd_region_are_neither_correct_nor_wrong(folder: Path) -> None:
    crowd = truth([50, 50, 100, 100], iscrowd=1)
    split = write(folder, 1, [truth([0, 0, 20, 20]), crowd])
    boxes: Boxes = [(60, 60, 80, 80), (0, 0, 20, 20)]
    assert evaluate(split, [(10, detections(boxes, [0.9, 0.8], [0, 0]))])["AP"] == pytest.approx(1)


def test_all_objects_of_a_dense_scene_count_with_a_higher_maximum(folder: Path) -> None:
    corners = [(13.0 * (n % 15), 19.0 * (n // 15)) for n in range(150)]
    split = write(folder, 1, [truth([x, y, 10, 12]) for x, y in corners])
    boxes = [(x, y, x + 10, y + 12) for x, y in corners]
    found = [(10, detections(boxes, np.linspace(1, 0.5, 150).tolist(), [0] * 150))]
    # Every detection is right. Of 150 objects, 100 detections find two thirds: precision is 1 at
    # the 67 recalls 0, 0.01 .. 0.66 of 101.
    by_maximum = {most: evaluate(split, found, most) for most in (100, 300)}
    assert by_maximum[100]["AP"] == pytest.approx(67 / 101)
    assert by_maximum[100]["AR100"] == pytest.approx(100 / 150)
    for name in ("AP", "AP50", "AP75", "APs", "AP/dog", "AR300", "ARs"):
        assert by_maximum[300][name] == pytest.approx(1)
    assert by_maximum[300]["AR10"] == pytest.approx(10 / 150)
    assert "AR100" not in by_maximum[300]
    table = summary(by_maximum[300]).splitlines()
    assert [line.partition("maxDets=")[2] for line in table] == (
        ["300 ] = 1.000"] * 4
        + ["300 ] = -1.000"] * 2
        + ["  1 ] = 0.007", " 10 ] = 0.067", "300 ] = 1.000", "300 ] = 1.000"]
        + ["300 ] = -1.000"] * 2
    )


@pytest.mark.parametrize(
    ("most", "names"),
    [
        (1, ["AR1"]),
        (5, ["AR1", "AR5"]),
        (10, ["AR1", "AR10"]),
        (11, ["AR1", "AR10", "AR11"]),
        (1000, ["AR1", "AR10", "AR1000"]),
    ],
)
def test_the_table_has_a_recall_for_the_maximum(folder: Path, most: int, names: list[str]) -> None:
    corners = [(float(x), 0.0) for x in range(0, 200, 10)]
    split = write(folder, 1, [truth([x, y, 8, 8]) for x, y in corners])
    boxes = [(x, y, x + 8, y + 8) for x, y in corners]
    metrics = evaluate(split, [(10, detections(boxes, [0.5] * 20, [0] * 20))], most)
    recalls = [name for name in metrics if name[:2] == "AR" and name[2:].isdecimal()]
    assert recalls == names
    for name in names:  # of 20 objects, all of one score, the first detections find one each
        assert metrics[name] == pytest.approx(min(20, int(name[2:])) / 20)
    assert len(summary(metrics).splitlines()) == 9 + len(names)
    assert f"maxDets={most:>3d} ] = {metrics[names[-1]]:.3f}" in summary(metrics)


def random_boxes(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    corner = rng.integers(0, SIDE - 10, (count, 2))
    size = rng.integers(5, 120, (count, 2))
    return np.concatenate([corner, np.minimum(size, SIDE - corner)], axis=1)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_metrics_equal_pycocotools_for_a_file_without_faults(
    folder: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    annotations = [
        truth(box, int(rng.integers(10, 13)), int(rng.choice([2, 4])), iscrowd=int(i % 7 == 6))
        for i, box in enumerate(random_boxes(int(rng.integers(1, 25)), rng).tolist())
    ]
    split = write(folder, 3, annotations)
    results, lines = [], []
    for image in (10, 11, 12):
        # Some boxes are shifted true boxes, so that some detections are correct.
        near = [a["bbox"] for a in annotations if a["image_id"] == image]
        boxes = np.array(near, dtype=np.int64).reshape(-1, 4)
        boxes = np.concatenate([boxes + rng.integers(0, 4, boxes.shape), random_boxes(3, rng)])
        labels = rng.integers(0, 2, len(boxes))
        scores = (rng.integers(1, 64, len(boxes)) / 64).tolist()
        corners = [(x, y, x + w, y + h) for x, y, w, h in boxes.tolist()]
        results.append((image, detections(corners, scores, labels.tolist())))
        lines += [
            {"image_id": image, "category_id": (2, 4)[label], "bbox": box, "score": score}
            for box, score, label in zip(boxes.tolist(), scores, labels, strict=True)
        ]
    capsys.readouterr()
    metrics = evaluate(split, results)
    assert capsys.readouterr().out == ""
    file = json.loads(split.annotation_file.read_text())
    plain = COCO()
    plain.dataset = {"info": {}, **file}
    plain.createIndex()
    scorer = COCOeval(plain, plain.loadRes(lines), "bbox")
    scorer.evaluate()
    scorer.accumulate()
    capsys.readouterr()
    scorer.summarize()
    assert [metrics[line.name] for line in table_lines()] == scorer.stats.tolist()
    assert summary(metrics).splitlines() == capsys.readouterr().out.splitlines()
    present = [metrics[f"AP/{name}"] for name in ("cat", "dog") if metrics[f"AP/{name}"] >= 0]
    assert metrics["AP"] == pytest.approx(np.mean(present) if present else -1.0)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([(9, [0])], r"got image id 9 \(at .*val2017.json\)"),
        ([(10, [0]), (10, [0])], r"got image id 10 \(at .*val2017.json\)"),
        ([(10, [2])], r"from 0 to 1, got \[2\] \(at image id 10\)"),
        ([(10, [-1])], r"from 0 to 1, got \[-1\] \(at image id 10\)"),
    ],
)
def test_results_must_be_for_images_and_classes_of_the_split(
    folder: Path, results: list[tuple[int, list[int]]], message: str
) -> None:
    split = write(folder, 1, [truth([0, 0, 20, 20])])
    given_results = [
        (image, detections([(0, 0, 9, 9)], [0.5], labels)) for image, labels in results
    ]
    with pytest.raises(DataError, match=message):
        evaluate(split, given_results)
