"""Ways to score that published figures were obtained with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.data.samples import Truth
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.recipe.settings import DetectionRule


@dataclass(frozen=True)
class Protocol:
    """Which pictures are scored, and with which thresholds.

    Attributes:
        annotated_only: pictures without an annotation are left out.
        crowds: pictures with a region of uncounted objects are scored too.
        detection: replaces the recipe's; None for the recipe's.
    """

    annotated_only: bool = False
    crowds: bool = True
    detection: DetectionRule | None = None


PROTOCOLS = {
    # All pictures; what Google's and mmdetection's figures on val2017 mean.
    "coco": Protocol(),
    # Model zoo at eab643f: src/dataset.py create_coco_label picks the pictures; eval.py and
    # default_config.yaml (min_score, nms_thershold, max_boxes) the thresholds. The annotations
    # that pycocotools compares with are the file's own, not rounded.
    "modelzoo": Protocol(
        annotated_only=True,
        crowds=False,
        detection=DetectionRule(
            score=0.1, iou=0.6, pre_nms=None, maximum_per_class=True, inclusive=True
        ),
    ),
}


def select(split: Split, protocol: Protocol) -> Split:
    """Return the split with the pictures that a protocol scores, in their order.

    Raises:
        DataError: there are none.
    """
    truth, count = split.truth, len(split.samples)
    kept = np.ones(count, dtype=bool)
    if protocol.annotated_only:
        kept &= np.bincount(truth.sample, minlength=count) > 0
    if not protocol.crowds:
        kept &= np.bincount(truth.sample[truth.crowd], minlength=count) == 0
    if not kept.any():
        raise DataError(
            f"a protocol leaves a picture to score, got none of {count} "
            f"(at {split.annotation_file})"
        )
    inside = kept[truth.sample]
    place = np.cumsum(kept) - 1
    return replace(
        split,
        samples=tuple(s for s, keep in zip(split.samples, kept, strict=True) if keep),
        truth=Truth(
            place[truth.sample[inside]],
            truth.label[inside],
            truth.box[inside],
            truth.area[inside],
            truth.crowd[inside],
        ),
    )
