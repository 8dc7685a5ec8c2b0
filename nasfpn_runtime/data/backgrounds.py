"""Images without boxes: which of them training may use as background, and which it leaves out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.errors import DataError


def backgrounds(split: Split) -> NDArray[np.intp]:
    """Return the indices of the samples with neither boxes nor crowd regions.

    An image with a crowd region shows objects, so it is no background.
    """
    samples = enumerate(split.samples)
    return np.array([i for i, s in samples if not len(s.boxes) + len(s.crowd)], np.intp)


def check_backgrounds(split: Split, share: float) -> None:
    """Check that a split has images to use as background.

    Args:
        share: the setting ``data.background`` of a recipe.

    Raises:
        DataError: the share is above 0, and there is no such image.
    """
    if share and not len(backgrounds(split)):
        raise DataError(
            f"data.background must be 0 for a dataset in which every image has a box or a crowd "
            f"region, got {share:g} (at {split.annotation_file})"
        )


def left_out(split: Split, share: float) -> str:
    """Return a line on the images that training leaves out and why; empty if there are none.

    Args:
        share: the setting ``data.background`` of a recipe.
    """
    empty = len(backgrounds(split))
    only_crowd = len(split.samples) - len(split.with_boxes) - empty
    parts = []
    if empty and not share:
        parts.append(
            f"{empty:,} without boxes (add --set data.background=SHARE to train on them as "
            "background)"
        )
    if only_crowd:
        parts.append(f"{only_crowd:,} with only crowd regions")
    return f"images left out of training: {', '.join(parts)}" if parts else ""
