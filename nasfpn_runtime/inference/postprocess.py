"""Turn the outputs of a detector into detections: thresholds and suppression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.pictures.boxes import Boxes, clip_boxes, iou
from nasfpn_runtime.pictures.image import Placement
from nasfpn_runtime.recipe.settings import DetectionRule

BLOCK = 512  # candidates processed at a time: most images need only the first block


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections in one image, highest score first.

    Attributes:
        boxes: (n, 4) float32 xyxy px.
        scores: (n,) float32, 0 to 1.
        labels: (n,) int32, class indices from 0.
        categories: names of the classes, by label; empty if unknown.
    """

    boxes: Boxes
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    categories: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Class name of each detection; requires ``categories``."""
        return tuple(self.categories[label] for label in self.labels)

    def __len__(self) -> int:
        return len(self.scores)


def choose(
    scores: NDArray[np.float32],
    boxes: Boxes,
    levels: NDArray[np.intp],
    placement: Placement,
    rule: DetectionRule,
) -> Detections:
    """Return the detections in one image, in pixels of the stored image.

    Candidates are the (anchor, class) pairs whose score is above ``rule.score``; of each class
    or level only the ``rule.candidates`` best. Candidates are visited from the highest score to the
    lowest. A candidate is kept unless it overlaps a kept candidate of its class by more than
    ``rule.iou``, until ``rule.maximum`` are kept. Equal scores rank by class, then by anchor; the
    sorts of mmdetection and the model zoo leave their order open. Boxes are clipped to the image.
    Boxes left without area are dropped, unless a box includes its last pixel.

    Sources: tensorflow/tpu ``postprocess_ops.py``; mmdetection ``base_dense_head.py`` and
    ``utils/misc.py``; model zoo ``eval.py``.

    Args:
        scores: (A, K) after the sigmoid.
        boxes: (A, 4) xyxy px of the network's input.
        levels: (A,) pyramid level of each anchor.
        placement: position of the image in the input.
    """
    candidates = _candidates(scores, levels, rule)
    return _suppressed(boxes[candidates.anchors], candidates, placement, rule)


class _Candidates(NamedTuple):
    """Pairs of anchor and class with their scores: (n,) each, highest score first."""

    anchors: NDArray[np.intp]
    labels: NDArray[np.intp]
    scores: NDArray[np.float32]


def _candidates(
    scores: NDArray[np.float32], levels: NDArray[np.intp], rule: DetectionRule
) -> _Candidates:
    by_class = scores.T
    labels, anchors = np.nonzero(by_class > rule.score)
    ranked = scores[anchors, labels]
    order = np.argsort(
        -ranked, kind="stable"
    )  # nonzero returns pairs ordered by class, then anchor
    if rule.candidates is not None:
        group = levels[anchors] if rule.pre_nms_per_level else labels
        order = order[_rank_in_group(group[order]) < rule.candidates]
    return _Candidates(anchors[order], labels[order], ranked[order])


def _suppressed(
    boxes: Boxes, candidates: _Candidates, placement: Placement, rule: DetectionRule
) -> Detections:
    """Return the candidates that suppression keeps; ``boxes`` (n, 4) in px of the input."""
    _, labels, ranked = candidates
    boxes = placement.inverse(clip_boxes(boxes, (placement.height, placement.width)))
    if not rule.inclusive:
        solid = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        boxes, labels, ranked = boxes[solid], labels[solid], ranked[solid]
    kept = suppress(boxes, labels, rule)
    return Detections(boxes[kept], ranked[kept], labels[kept].astype(np.int32))


def suppress(boxes: Boxes, labels: NDArray[np.int_], rule: DetectionRule) -> NDArray[np.intp]:
    """Return the indices of the boxes that greedy per-class suppression keeps.

    Boxes must be ordered by score, highest first; so are the indices. One run over all classes
    keeps the same boxes as a run per class, and can stop at an image's maximum. If the maximum
    is per class, each class gets a run of its own that stops there.
    """
    if rule.inclusive:
        boxes = boxes + np.array([0, 0, 1, 1], dtype=boxes.dtype)
    if not rule.maximum_per_class:
        return _suppress(boxes, labels, rule.iou, rule.maximum)
    kept = [np.empty(0, dtype=np.intp)]
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        kept.append(of_class[_suppress(boxes[of_class], labels[of_class], rule.iou, rule.maximum)])
    return np.sort(np.concatenate(kept))


def _suppress(
    boxes: Boxes, labels: NDArray[np.int_], threshold: float, maximum: int
) -> NDArray[np.intp]:
    kept = np.empty(0, dtype=np.intp)
    for start in range(0, len(boxes), BLOCK):
        if len(kept) >= maximum:
            break
        left = np.arange(start, min(start + BLOCK, len(boxes)))
        left = left[~_is_suppressed(boxes, labels, kept, left, threshold).any(axis=0)]
        while len(left) and len(kept) < maximum:
            first, left = left[:1], left[1:]
            kept = np.concatenate([kept, first])
            left = left[~_is_suppressed(boxes, labels, first, left, threshold)[0]]
    return kept


def _is_suppressed(
    boxes: Boxes,
    labels: NDArray[np.int_],
    kept: NDArray[np.intp],
    others: NDArray[np.intp],
    threshold: float,
) -> NDArray[np.bool_]:
    """Return (kept, others) bool: whether each kept box suppresses each of the others."""
    same_class: NDArray[np.bool_] = labels[kept][:, None] == labels[others]
    return same_class & (iou(boxes[kept], boxes[others]) > threshold)


def _rank_in_group(groups: NDArray[np.int_]) -> NDArray[np.intp]:
    """Return the number of earlier entries in the same group, for each entry."""
    by_group = np.argsort(groups, kind="stable")
    starts = np.concatenate([[0], np.bincount(groups).cumsum()])
    rank = np.empty(len(groups), dtype=np.intp)
    rank[by_group] = np.arange(len(groups)) - starts[groups[by_group]]
    return rank


def sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + exp(-x)) without overflow."""
    result: NDArray[np.float32] = 0.5 * (1.0 + np.tanh(0.5 * x))
    return result


def without_padding(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[np.int64]
) -> Detections:
    """Return an image's outputs of a file that suppresses, without the rows that only fill up."""
    rows = labels >= 0
    return Detections(boxes[rows], scores[rows], labels[rows].astype(np.int32))


def select_classes(detections: Detections, classes: Sequence[int] | None) -> Detections:
    """Return the detections of some classes, labelled by their order in ``classes``."""
    if classes is None:
        return detections
    new_labels = np.full(max(*classes, *detections.labels, 0) + 1, -1, np.int32)
    new_labels[list(classes)] = np.arange(len(classes))
    labels = new_labels[detections.labels]
    kept = labels >= 0
    return Detections(detections.boxes[kept], detections.scores[kept], labels[kept])
