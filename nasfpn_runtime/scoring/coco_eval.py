"""COCO's metrics, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from typing import Any

import search_space.plotting  # noqa: F401 - before matplotlib, see there

# isort: split
import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.inference.postprocess import Detections
from search_space.names import shown, unique

NAMED = 3  # categories listed in a message
# The lines of COCO's table: name, measure, IoU, object size, detections per image.
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
    """Return COCO's 12 metrics, 0 to 1, and the AP of each class as ``AP/<category>``.

    Of several classes with one name, all but the first have a number: ``AP/fish (2)``.

    The ground truth is the annotations that ``load_split`` kept, with boxes and areas as in the
    annotation file: a box that was dropped from training does not count as missed. For a file
    without faults this is plain COCO evaluation. As there, a metric is -1 if the split has
    nothing to compute it from, such as APl without large objects.

    Args:
        results: (image id, detections in pixels of the stored image), at most once per image. An
            image without a result counts as one without detections.

    Raises:
        DataError: a result has an unknown or repeated image id, or an unknown class.
    """
    detected = _detected_annotations(split, results)  # before stdout is redirected: may run code
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _true_annotations(split)
        scorer = COCOeval(_index(split, truth), _index(split, detected), "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    metrics = {line[0]: float(value) for line, value in zip(METRICS, scorer.stats, strict=True)}
    # Axes: IoU threshold, recall, class, object size (0 is all), detections (-1 is 100).
    precision = scorer.eval["precision"][:, :, :, 0, -1]
    for label, name in enumerate(unique(split.categories)):
        metrics[f"AP/{name}"] = _mean(precision[:, :, label])
    return metrics


def summary(metrics: Mapping[str, float]) -> str:
    """Return the 12 lines that pycocotools would print."""
    return "\n".join(
        f" {'Average ' + measure:<18} ({'AP' if measure == 'Precision' else 'AR'}) "
        f"@[ IoU={overlap:<9} | area={size:>6s} | maxDets={most:>3d} ] = {metrics[name]:0.3f}"
        for name, measure, overlap, size, most in METRICS
    )


def doubts(metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Return lines on why the metrics say little or nothing about a detector; none if they do."""
    lines = []
    if metrics["AP"] == 0:
        lines.append(
            "AP is exactly 0: no detection matches a box; check the data with `nasfpn data show`, "
            "or train for more epochs or with another training.lr"
        )
    if missing := [k.removeprefix("AP/") for k, v in metrics.items() if "/" in k and v == -1]:
        names = ", ".join(map(shown, missing[:NAMED])) + (", ..." if len(missing) > NAMED else "")
        lines.append(f"no box to score is of {names}: AP is the mean over the other categories")
    return tuple(lines)


def _mean(precision: NDArray[np.float64]) -> float:
    """Return the mean of the values that exist; pycocotools marks missing ones by -1."""
    present = precision[precision > -1]
    return float(present.mean()) if len(present) else -1.0


def _true_annotations(split: Split) -> list[dict[str, Any]]:
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


def _detected_annotations(
    split: Split, results: Iterable[tuple[int, Detections]]
) -> list[dict[str, Any]]:
    indices = {sample.image_id: index for index, sample in enumerate(split.samples)}
    annotations = []
    for image_id, detections in results:
        if image_id not in indices:
            raise DataError(
                f"the image of a result must be in the split and have no other result, got image "
                f"id {image_id} (at {split.annotation_file})"
            )
        index = indices.pop(image_id)
        labels = detections.labels
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(split.categories):
            raise DataError(
                f"classes must be from 0 to {len(split.categories) - 1}, got "
                f"{sorted(set(labels.tolist()))} (at image id {image_id})"
            )
        boxes = detections.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        annotations += [
            {
                "image_id": index,
                "category_id": label,
                "bbox": box,
                "score": score,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for box, score, label in zip(
                boxes.tolist(), detections.scores.tolist(), labels.tolist(), strict=True
            )
        ]
    return annotations


def _index(split: Split, annotations: list[dict[str, Any]]) -> COCO:
    """Return pycocotools' index of annotations, with indices in the split as image ids."""
    for number, annotation in enumerate(annotations, start=1):  # 0 would mean "unmatched"
        annotation["id"] = number
    coco = COCO()
    coco.dataset = {
        "images": [{"id": index} for index in range(len(split.samples))],
        "categories": [{"id": label} for label in range(len(split.categories))],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco
