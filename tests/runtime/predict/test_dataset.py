"""Results for a split of a dataset: those that are scored, with the ids of the dataset."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import predict_stub
from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.data.dataset import Split, load_split
from nasfpn_runtime.errors import CheckpointError, DataError
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.predict.dataset import predict_split
from nasfpn_runtime.predict.loop import PredictOptions, Tally
from nasfpn_runtime.predict.results import SplitResults
from nasfpn_runtime.recipe.settings import DetectionRule
from nasfpn_runtime.scoring.coco_eval import table_lines
from nasfpn_runtime.scoring.evaluate import class_indices, score

SIZES = ((60, 40), (40, 60), (64, 64), (200, 30), (33, 47))  # width, height
CATEGORIES = [{"id": 90, "name": "cat"}, {"id": 4, "name": "dog"}]
OPTIONS = PredictOptions(score=None)


class Guesser:
    """An engine: boxes around the middle, with scores and sides that depend on the image."""

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        (images,) = inputs
        count, _, height, width = images.shape
        anchors = (height // predict_stub.STRIDE) * (width // predict_stub.STRIDE)
        boxes = np.zeros((count, anchors, 4), np.float32)
        scores = np.zeros((count, anchors, 3), np.float32)
        for index, image in enumerate(images):
            rng = np.random.default_rng(int(np.abs(image).sum() * 1000) % 2**32)
            middle = np.array([width, height, width, height]) / 2 * rng.uniform(0.5, 1.1)
            reach = rng.uniform(1, 32, (anchors, 1)) * [-1, -1, 1, 1]
            boxes[index] = middle + reach * rng.uniform(0.7, 1, (anchors, 4))
            scores[index] = rng.random((anchors, 3)) ** 2
        return boxes, scores


def guesser() -> Detector:
    """Return a detector that knows one category more than the dataset, in another order."""
    about = predict_stub.detector().description
    names, rule = ("dog", "boat", "cat"), DetectionRule(score=0.02, maximum=40)
    return Detector(Guesser(), replace(about, names=names, detection=rule))


def write_split(folder: Path, *, boxes: bool = True, exif: int = 1) -> Split:
    """Write the split ``test``: 17 images of five sizes, with ids that are not in order."""
    shade, rng = np.random.default_rng(5), np.random.default_rng(6)
    (folder / "annotations").mkdir(parents=True)
    (folder / "test2017").mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(17):
        width, height = SIZES[number % len(SIZES)]
        name, key = f"{number}.png", (number * 1000 + 17) % 2**53
        pixels = shade.integers(0, 256, (height, width, 3), dtype=np.uint8)
        note = Image.Exif()
        note[0x0112] = exif
        Image.fromarray(pixels).save(folder / "test2017" / name, exif=note)
        images.append({"id": key, "file_name": name, "width": width, "height": height})
        for _ in range(3 if boxes else 0):
            side = rng.uniform(0.4, 0.9, 2) * [width, height]
            corner = rng.uniform(0, 1, 2) * ([width, height] - side)
            box = [*corner.tolist(), *side.tolist()]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": key,
                    "category_id": int(rng.choice([90, 4])),
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    data = {"info": {}, "images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "annotations" / "instances_test2017.json").write_text(json.dumps(data))
    return load_split(folder, "test", needs_boxes=boxes)


def results_of(
    detector: Detector, split: Split, options: PredictOptions = OPTIONS
) -> tuple[Tally, list[dict[str, Any]], list[str]]:
    """Return the tally, the entries of the results and the lines that were reported."""
    stream, lines = io.StringIO(), list[str]()
    sink = SplitResults(stream, split.category_ids)
    tally = predict_split(detector, split, [sink], options, lines.append)
    sink.close()
    return tally, json.loads(stream.getvalue()), lines


def pycocotools_metrics(file: Path, entries: Sequence[dict[str, Any]]) -> list[float]:
    """Return what a server computes that has the annotation file and gets the entries."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(file))
        scorer = COCOeval(truth, truth.loadRes(list(entries)), "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return [float(value) for value in scorer.stats]


def test_a_server_gets_the_scores_of_eval(tmp_path: Path) -> None:
    split, detector = write_split(tmp_path / "data"), guesser()
    tally, entries, lines = results_of(detector, split)
    assert (tally.frames, tally.skipped, lines) == (17, 0, [])
    assert tally.boxes.total() == len(entries) > 100
    assert set(tally.boxes) == {"cat", "dog"}  # no boat, which the dataset does not have
    assert {tuple(entry) for entry in entries} == {("image_id", "category_id", "bbox", "score")}
    pictures = Pictures(split, detector.description.size, detector.description.data)
    classes = class_indices(detector.names, split)
    expected = score(detector, pictures, classes=classes, progress=False)
    ours = pycocotools_metrics(split.annotation_file, entries)
    assert expected["AP"] > 0.01
    names = [line.name for line in table_lines()]
    limited = {**expected, "AR100": expected["AR40"]}  # the rule allows 40 detections
    np.testing.assert_allclose(ours, [limited[name] for name in names], atol=1e-12)
    # A higher minimum score would cost a server's score.
    cut = results_of(detector, split, PredictOptions(score=0.9))[1]
    assert 0 < len(cut) < len(entries)
    assert pycocotools_metrics(split.annotation_file, cut)[0] < expected["AP"] - 1e-3


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_results_do_not_depend_on_the_batch_or_on_boxes(tmp_path: Path, batch: int) -> None:
    labelled, unlabelled = write_split(tmp_path / "a"), write_split(tmp_path / "b", boxes=False)
    assert not len(unlabelled.with_boxes)
    expected = results_of(guesser(), labelled)[1]
    entries = results_of(guesser(), unlabelled, PredictOptions(None, batch))[1]
    assert by_image(entries) == by_image(expected)


def by_image(entries: Sequence[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for entry in entries:
        found.setdefault(entry["image_id"], []).append(entry)
    return found


@pytest.mark.parametrize("orientation", [1, 6])
def test_boxes_are_in_the_frame_of_the_annotations(tmp_path: Path, orientation: int) -> None:
    # COCO's annotations are in stored pixels, whatever the EXIF orientation says.
    split = write_split(tmp_path, boxes=False, exif=orientation)
    sample = split.samples[0]
    note = Image.Exif()
    note[0x0112] = orientation
    predict_stub.marked_image().save(tmp_path / "test2017" / "0.png", exif=note)
    names = replace(split, categories=("mark", "other"), samples=(sample,))
    (entry,) = results_of(predict_stub.detector(), names)[1]
    x1, y1, x2, y2 = predict_stub.MARK
    np.testing.assert_allclose(entry["bbox"], [x1, y1, x2 - x1, y2 - y1], atol=1)
    assert (entry["image_id"], entry["category_id"]) == (sample.image_id, split.category_ids[0])


def test_an_image_that_cannot_be_read_is_skipped(tmp_path: Path) -> None:
    split = write_split(tmp_path)
    broken = tmp_path / "test2017" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    tally, entries, lines = results_of(guesser(), split)
    assert (tally.frames, tally.skipped) == (16, 1)
    (line,) = lines
    assert line.startswith(f"skipped {broken}: ")
    assert {entry["image_id"] for entry in entries} == {
        sample.image_id for sample in split.samples if sample.path != broken
    }


def test_categories_that_cannot_be_detected_are_refused(tmp_path: Path) -> None:
    split = write_split(tmp_path)
    with pytest.raises(CheckpointError, match=r"got owl \(at .*instances_test2017\.json\)"):
        results_of(guesser(), replace(split, categories=("cat", "owl")))
    with pytest.raises(DataError, match=r"got none \(at .*instances_test2017\.json\)"):
        results_of(guesser(), replace(split, categories=(), category_ids=()))
