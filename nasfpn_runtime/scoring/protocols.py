"""Protocols: the images and thresholds by which published scores were obtained."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.data.samples import Truth
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.recipe.settings import DetectionRule


@dataclass(frozen=True)
class Protocol:
    """Selection of the images to score, and thresholds.

    Attributes:
        annotated_only: skip images without annotations.
        crowds: score images with a crowd region too.
        detection: detection rule; None for the recipe's.
    """

    annotated_only: bool = False
    crowds: bool = True
    detection: DetectionRule | None = None


PROTOCOLS = {
    # All images, as for Google's and mmdetection's scores on val2017.
    "coco": Protocol(),
    # Model zoo at eab643f: create_coco_label in src/dataset.py selects the images; eval.py and
    # default_config.yaml (min_score, nms_thershold, max_boxes) give the thresholds. pycocotools
    # compares with the annotations as the file has them, not rounded.
    "modelzoo": Protocol(
        annotated_only=True,
        crowds=False,
        detection=DetectionRule(
            score=0.1, iou=0.6, pre_nms=None, maximum_per_class=True, inclusive=True
        ),
    ),
}


def select(split: Split, protocol: Protocol) -> Split:
    """Return the split with only the images that a protocol scores, in their order.

    Raises:
        DataError: the protocol selects none of the images.
    """
    truth, count = split.truth, len(split.samples)
    kept = np.ones(count, dtype=bool)
    if protocol.annotated_only:
        kept &= np.bincount(truth.sample, minlength=count) > 0
    if not protocol.crowds:
        kept &= np.bincount(truth.sample[truth.crowd], minlength=count) == 0
    if not kept.any():
        raise DataError(
            f"a protocol must select an image to score, got none of {count} "
            f"(at {split.annotation_file})"
        )
    inside = kept[truth.sample]
    new_index = np.cumsum(kept) - 1
    return replace(
        split,
        samples=tuple(s for s, keep in zip(split.samples, kept, strict=True) if keep),
        truth=Truth(
            new_index[truth.sample[inside]],
            truth.label[inside],
            truth.box[inside],
            truth.area[inside],
            truth.crowd[inside],
        ),
    )
