"""COCO's average precision, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.inference.postprocess import Detections

# Name, then what a line of the usual table says: measure, IoU, object size, detections.
METRICS = (
    ("AP", "Precision", "0.50:0.95", "all", 100),
    ("AP50", "Precision", "0.50", "all", 100),
    ("AP75", "Precision", "0.75", "all", 100),
    ("APs", "Precision", "0.50:0.95", "small", 100),
    ("APm", "Precision", "0.50:0.95", "medium", 100),
    ("APl", "Precision", "0.50:0.95", "large", 100),
    ("AR1", "Recall", "0.50:0.95", "all", 1),
    ("AR10", "Recall", "0.50:0.95", "all", 10),
    ("AR100", "Recall", "0.50:0.95", "all", 100),
    ("ARs", "Recall", "0.50:0.95", "small", 100),
    ("ARm", "Recall", "0.50:0.95", "medium", 100),
    ("ARl", "Recall", "0.50:0.95", "large", 100),
)


def evaluate(split: Split, results: Iterable[tuple[int, Detections]]) -> dict[str, float]:
    """Return COCO's 12 figures, 0 to 1, and the AP of each class as ``AP/<category>``.

    The truth is what ``load_split`` kept of the annotation file, boxes and areas as the
    file has them: a box that could not be trained on is not counted as missed either. On
    a file without faults this is plain COCO evaluation. As there, -1 stands for a figure
    that nothing in the split bears on, such as APl without large objects.

    Args:
        results: (image id, detections in stored pixels), at most once per picture; a
            picture without an entry counts as one where nothing was found.

    Raises:
        DataError: a result has an unknown or repeated image id or an unknown class.
    """
    found = _found(split, results)  # may run the network: its output is not swallowed
    with contextlib.redirect_stdout(io.StringIO()):
        scorer = COCOeval(_coco(split, _truth(split)), _coco(split, found), "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    metrics = {line[0]: float(value) for line, value in zip(METRICS, scorer.stats, strict=True)}
    # (IoU threshold, recall, class, object size, detections): all sizes, 100 detections.
    precision = scorer.eval["precision"][:, :, :, 0, -1]
    for label, name in enumerate(split.categories):
        metrics[f"AP/{name}"] = _mean(precision[:, :, label])
    return metrics


def summary(metrics: Mapping[str, float]) -> str:
    """Return the 12 lines that pycocotools prints."""
    return "\n".join(
        f" {'Average ' + measure:<18} ({'AP' if measure == 'Precision' else 'AR'}) "
        f"@[ IoU={overlap:<9} | area={size:>6s} | maxDets={most:>3d} ] = {metrics[name]:0.3f}"
        for name, measure, overlap, size, most in METRICS
    )


def _mean(precision: NDArray[np.float64]) -> float:
    present = precision[precision > -1]
    return float(present.mean()) if len(present) else -1.0


def _truth(split: Split) -> list[dict[str, Any]]:
    truth = split.truth
    return [
        {"image_id": sample, "category_id": label, "bbox": box, "area": area, "iscrowd": crowd}
        for sample, label, box, area, crowd in zip(
            truth.sample.tolist(),
            truth.label.tolist(),
            truth.box.tolist(),
            truth.area.tolist(),
            truth.crowd.astype(int).tolist(),
            strict=True,
        )
    ]


def _found(split: Split, results: Iterable[tuple[int, Detections]]) -> list[dict[str, Any]]:
    places = {sample.image_id: place for place, sample in enumerate(split.samples)}
    annotations = []
    for image_id, found in results:
        if image_id not in places:
            raise DataError(
                f"a result is for a picture of the split, once, got image id {image_id} "
                f"(at {split.annotation_file})"
            )
        place = places.pop(image_id)
        if len(found) and not 0 <= found.labels.min() <= found.labels.max() < len(split.categories):
            raise DataError(
                f"a class is from 0 to {len(split.categories) - 1}, got "
                f"{sorted(set(found.labels.tolist()))} (at image id {image_id})"
            )
        boxes = found.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        annotations += [
            {
                "image_id": place,
                "category_id": label,
                "bbox": box,
                "score": score,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for box, score, label in zip(
                boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
            )
        ]
    return annotations


def _coco(split: Split, annotations: list[dict[str, Any]]) -> COCO:
    """Return pycocotools' index, with places in the split as ids."""
    for number, annotation in enumerate(annotations, start=1):  # 0 would mean "unmatched"
        annotation["id"] = number
    coco = COCO()
    coco.dataset = {
        "images": [{"id": place} for place in range(len(split.samples))],
        "categories": [{"id": label} for label in range(len(split.categories))],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco
