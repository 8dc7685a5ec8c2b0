"""A detector without a network: it finds what is red."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.inference.description import Description
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.pictures.image import MEAN, STD
from nasfpn_runtime.recipe.settings import Data, DetectionRule

STRIDE = 8
SCORE = 0.9


class Finder:
    """An engine; the first box goes around all that is red, the others have no score."""

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        (images,) = inputs
        count, _, height, width = images.shape
        anchors = (height // STRIDE) * (width // STRIDE)
        boxes = np.zeros((count, anchors, 4), np.float32)
        scores = np.zeros((count, anchors, 2), np.float32)
        for slot, image in enumerate(images):
            red, green, blue = image * np.reshape(STD, (3, 1, 1)) + np.reshape(MEAN, (3, 1, 1))
            rows, columns = np.nonzero((red > 0.6) & (green < 0.4) & (blue < 0.4))
            if len(rows):
                boxes[slot, 0] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                scores[slot, 0, 0] = SCORE
        return boxes, scores


def detector(size: tuple[int, int] = (64, 64), **data: Any) -> Detector:
    """Return the detector, which knows classes ``mark`` and ``other``."""
    about = Description(
        names=("mark", "other"),
        size=size,
        fixed=True,
        levels=(3,),  # of stride 8
        anchors=1,
        data=Data(image=size, **data),
        detection=DetectionRule(),
        genome="none",
        recipe="stub",
    )
    return Detector(Finder(), about)
