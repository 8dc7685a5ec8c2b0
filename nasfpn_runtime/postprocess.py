"""From the outputs of a detector to a short list of boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.boxes import Boxes, clip_boxes, decode, iou

_BLOCK = 512  # candidates looked at together: most runs end in the first block


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one image, highest score first.

    Attributes:
        boxes: (n, 4) float32 xyxy px.
        scores: (n,) float32, 0 to 1.
        labels: (n,) int32, classes from 0.
    """

    boxes: Boxes
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)


def detections(
    scores: NDArray[np.float32],
    deltas: NDArray[np.float32],
    anchors: Boxes,
    *,
    image: tuple[int, int],
    score: float = 0.05,
    iou: float = 0.5,
    pre_nms: int = 5000,
    maximum: int = 100,
) -> Detections:
    """Return the detections of one image: per-class non-maximum suppression.

    Candidates are the (anchor, class) pairs whose score is above ``score``, the
    ``pre_nms`` best of each class over all levels. From the best score down, one is
    kept unless a kept one of its class overlaps it by more than ``iou``. Equal scores
    rank by class, then by anchor. The defaults are those of tensorflow/tpu.

    Args:
        scores: (A, K) after the sigmoid.
        deltas: (A, 4) offsets as in ``decode``.
        anchors: (A, 4) xyxy px.
        image: (height, width) that boxes are clipped to, in px; for a letterboxed
            picture that of the picture in it. Boxes left without area are dropped.
        maximum: most detections, all classes together.
    """
    by_class = scores.T
    labels, index = np.nonzero(by_class > score)
    ranked = scores[index, labels]
    order = np.argsort(-ranked, kind="stable")  # nonzero ran by class, then anchor
    order = order[_rank_in_class(labels[order]) < pre_nms]
    labels, index, ranked = labels[order], index[order], ranked[order]
    boxes = clip_boxes(decode(deltas[index], anchors[index]), image)
    solid = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    boxes, labels, ranked = boxes[solid], labels[solid], ranked[solid]
    kept = suppress(boxes, labels, iou, maximum)
    return Detections(boxes[kept], ranked[kept], labels[kept].astype(np.int32))


def suppress(
    boxes: Boxes, labels: NDArray[np.int_], threshold: float, maximum: int
) -> NDArray[np.intp]:
    """Return the indices that greedy per-class suppression keeps, ``maximum`` at most.

    Boxes come best first. The order runs over all classes together, which keeps the
    same ones as a run per class and can stop at ``maximum``.
    """
    kept = np.empty(0, dtype=np.intp)
    for start in range(0, len(boxes), _BLOCK):
        if len(kept) >= maximum:
            break
        left = np.arange(start, min(start + _BLOCK, len(boxes)))
        left = left[~_beaten(boxes, labels, kept, left, threshold).any(axis=0)]
        while len(left) and len(kept) < maximum:
            first, left = left[:1], left[1:]
            kept = np.concatenate([kept, first])
            left = left[~_beaten(boxes, labels, first, left, threshold)[0]]
    return kept


def _beaten(
    boxes: Boxes,
    labels: NDArray[np.int_],
    kept: NDArray[np.intp],
    others: NDArray[np.intp],
    threshold: float,
) -> NDArray[np.bool_]:
    """Return (kept, others): which of the others each of the kept suppresses."""
    same_class: NDArray[np.bool_] = labels[kept][:, None] == labels[others]
    return same_class & (iou(boxes[kept], boxes[others]) > threshold)


def _rank_in_class(labels: NDArray[np.int_]) -> NDArray[np.intp]:
    """Return, for each entry, how many entries of its class come before it."""
    by_class = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.bincount(labels).cumsum()])
    rank = np.empty(len(labels), dtype=np.intp)
    rank[by_class] = np.arange(len(labels)) - starts[labels[by_class]]
    return rank
