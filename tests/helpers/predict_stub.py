"""Prediction without a network: a detector of what is red, images for it, and a sink."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nasfpn_runtime.inference.description import Description
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.pictures.image import MEAN, STD
from nasfpn_runtime.predict.inputs import InputFile
from nasfpn_runtime.predict.loop import PredictOptions, Tally, predict
from nasfpn_runtime.predict.naming import Frame
from nasfpn_runtime.predict.results import Sink
from nasfpn_runtime.recipe.settings import Data, DetectionRule

STRIDE = 8
SCORE = 0.9
RED = (255, 0, 0)
WIDTH, HEIGHT = 60, 40  # px of the stored image
MARK = (6, 10, 30, 26)  # x1, y1, x2, y2 px in the stored image; asymmetric in every way


class RedFinder:
    """An engine: the first box encloses everything red, the others have the score 0."""

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        (images,) = inputs
        count, _, height, width = images.shape
        anchors = (height // STRIDE) * (width // STRIDE)
        boxes = np.zeros((count, anchors, 4), np.float32)
        scores = np.zeros((count, anchors, 2), np.float32)
        for index, image in enumerate(images):
            red, green, blue = image * np.reshape(STD, (3, 1, 1)) + np.reshape(MEAN, (3, 1, 1))
            rows, columns = np.nonzero((red > 0.6) & (green < 0.4) & (blue < 0.4))
            if len(rows):
                boxes[index, 0] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                scores[index, 0, 0] = SCORE
        return boxes, scores


def detector(size: tuple[int, int] = (64, 64), **data: Any) -> Detector:
    """Return the detector; its classes are ``mark`` (what is red) and ``other``."""
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
    return Detector(RedFinder(), about)


class KeptDetections:
    """A sink that keeps all frames and boxes."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.boxes: list[list[list[float]]] = []

    def add(self, frame: Frame, detections: Detections) -> None:
        """See ``results.Sink``."""
        self.frames.append(frame)
        self.boxes.append(detections.boxes.tolist())


def marked_image(mark: tuple[int, int, int, int] = MARK) -> Image.Image:
    """Return an image of ``WIDTH`` x ``HEIGHT`` px with a red rectangle."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 130))
    image.paste(RED, mark)
    return image


def run_predict(
    detector: Detector, paths: Iterable[Path], *sinks: Sink, batch: int = 8
) -> tuple[Tally, list[str]]:
    """Predict on files; return the tally and the lines that were reported."""
    reports: list[str] = []
    files = [InputFile(path, PurePath(path.name)) for path in paths]
    options = PredictOptions(batch=batch)
    tally = predict(detector, files, sinks, options, reports.append, total=len(files))
    return tally, reports
