"""COCO's metrics, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

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
STANDARD = 100  # detections of a class in an image that COCO's own table counts
FEWER = (1, 10)  # numbers of detections with a recall of their own
SIZES = ("all", "small", "medium", "large")  # of objects, in the order of pycocotools
OVERLAPS = ("0.50:0.95", "0.50", "0.75")  # IoU


class Line(NamedTuple):
    """A line of COCO's table.

    Attributes:
        name: key of the metric, such as ``AP50``.
        measure: ``Precision`` or ``Recall``.
        overlap: an entry of ``OVERLAPS``.
        size: an entry of ``SIZES``.
        most: number of detections of a class that count in each image, best first.
    """

    name: str
    measure: str
    overlap: str
    size: str
    most: int


def table_lines(most: int = STANDARD) -> tuple[Line, ...]:
    """Return the lines of COCO's table if ``most`` detections of a class count in each image.

    The recall with 1, with 10 and with ``most`` detections is ``AR1``, ``AR10`` and
    ``AR<most>``. Numbers above ``most`` have no line.
    """
    full = OVERLAPS[0]
    counts = (*(count for count in FEWER if count < most), most)
    return (
        Line("AP", "Precision", full, "all", most),
        Line("AP50", "Precision", "0.50", "all", most),
        Line("AP75", "Precision", "0.75", "all", most),
        *(Line(f"AP{size[0]}", "Precision", full, size, most) for size in SIZES[1:]),
        *(Line(f"AR{count}", "Recall", full, "all", count) for count in counts),
        *(Line(f"AR{size[0]}", "Recall", full, size, most) for size in SIZES[1:]),
    )


def evaluate(
    split: Split, results: Iterable[tuple[int, Detections]], most: int = STANDARD
) -> dict[str, float]:
    """Return COCO's metrics, 0 to 1, and the AP of each class as ``AP/<category>``.

    Of several classes with one name, all but the first have a number: ``AP/fish (2)``.

    The ground truth is the annotations that ``load_split`` kept, with boxes and areas as in the
    annotation file: a box that was dropped from training does not count as missed. For a file
    without faults this is plain COCO evaluation. As there, a metric is -1 if the split has
    nothing to compute it from, such as APl without large objects.

    Args:
        results: (image id, detections in pixels of the stored image), at most once per image. An
            image without a result counts as one without detections.
        most: number of detections of a class that count in each image, best first. The metrics
            are those of :func:`table_lines`.

    Raises:
        DataError: a result has an unknown or repeated image id, or an unknown class.
    """
    detected = _detected_annotations(split, results)  # before stdout is redirected: may run code
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _true_annotations(split)
        scorer = COCOeval(_index(split, truth), _index(split, detected), "bbox")
        lines = table_lines(most)
        scorer.params.maxDets = sorted({line.most for line in lines})
        scorer.evaluate()
        scorer.accumulate()
    metrics = {line.name: _value(scorer, line) for line in lines}
    precision = _values(scorer, lines[0])
    for label, name in enumerate(unique(split.categories)):
        metrics[f"AP/{name}"] = _mean(precision[:, :, label])
    return metrics


def summary(metrics: Mapping[str, float]) -> str:
    """Return the lines that pycocotools prints for these metrics, those of :func:`evaluate`."""
    counts = [int(name[2:]) for name in metrics if re.fullmatch(r"AR\d+", name)]
    return "\n".join(
        f" {'Average ' + measure:<18} ({'AP' if measure == 'Precision' else 'AR'}) "
        f"@[ IoU={overlap:<9} | area={size:>6s} | maxDets={most:>3d} ] = {metrics[name]:0.3f}"
        for name, measure, overlap, size, most in table_lines(max(counts))
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


def _value(scorer: COCOeval, line: Line) -> float:
    """Return a metric.

    pycocotools' ``summarize`` has 100 detections in its code, and gives an AP of -1 if another
    number was counted.
    """
    values = _values(scorer, line)
    if line.overlap != OVERLAPS[0]:  # axis 0 is the IoU thresholds
        values = values[scorer.params.iouThrs == float(line.overlap)]
    return _mean(values)


def _values(scorer: COCOeval, line: Line) -> NDArray[np.float64]:
    """Return the part of pycocotools' result for an object size and a number of detections.

    Its axes are IoU threshold, recall (for precision only) and class.
    """
    size, count = SIZES.index(line.size), scorer.params.maxDets.index(line.most)
    values: NDArray[np.float64] = scorer.eval[line.measure.lower()][..., size, count]
    return values


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that exist; pycocotools marks missing ones by -1."""
    present = values[values > -1]
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
