"""Compare an exported file with the checkpoint that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.errors import EngineError
from nasfpn_runtime.inference.description import Description
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.inference.engines.base import Engine
from nasfpn_runtime.inference.engines.registry import open_model
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.pictures.image import Pixels, normalise_all

# Tolerances for boxes, as a fraction of the input's longer side, and for scores. The rounding of
# float32 in 60 consecutive convolutions adds up to a few thousandths of a pixel at 640 px, that of
# float16 to a few pixels for an anchor of half that side.
TOLERANCES = {"fp32": (1e-4, 1e-4), "fp16": (2e-2, 5e-2)}
ROUNDING = 0.01  # px; largest effect of rounding on a coordinate in the stored image


@dataclass(frozen=True)
class Difference:
    """Largest differences between two sets of outputs, or limits for them.

    Boxes are clipped to the input first.

    Attributes:
        boxes: in px of the network's input.
        scores: 0 to 1.
    """

    boxes: float
    scores: float

    def within(self, limits: Difference) -> bool:
        """Return True if neither value is above its limit; not-a-number counts as above."""
        return self.boxes <= limits.boxes and self.scores <= limits.scores


def allowed(about: Description) -> Difference:
    """Return the largest differences that the precision of a file explains."""
    boxes, scores = TOLERANCES[about.precision]
    return Difference(boxes * max(about.size), scores)


def compare(
    reference: Engine,
    path: Path,
    about: Description,
    pictures: Sequence[Pixels],
    engine: str | None = None,
) -> Difference:
    """Return the largest differences between a file and its checkpoint on some images.

    If the sides of the input are not fixed, half the size is compared, too, rounded down to
    multiples of the coarsest stride.

    Args:
        reference: the checkpoint.
        path: the file.
        about: the description of the file.
        engine: name of the engine to run the file in; None for the default of its suffix.

    Raises:
        EngineError: a difference is larger than :func:`allowed`.
    """
    loaded, _ = open_model(path, engine)
    frames = [about.size]
    if not about.fixed:
        height, width = (max(1, side // about.stride // 2) * about.stride for side in about.size)
        frames += [(height, width)]
    differences = [
        _difference(reference, loaded, inputs(pictures, about, frame), about.batch)
        for frame in frames
    ]
    worst = Difference(  # np.max, because max() may lose a not-a-number
        float(np.max([d.boxes for d in differences])),
        float(np.max([d.scores for d in differences])),
    )
    limits = allowed(about)
    if not worst.within(limits):
        raise EngineError(
            f"exported file in {about.precision} differs too much from the checkpoint: boxes by "
            f"{worst.boxes:.2g} px (limit {limits.boxes:.2g}), scores by {worst.scores:.2g} "
            f"(limit {limits.scores})"
        )
    return worst


def inputs(
    pictures: Sequence[Pixels], about: Description, frame: tuple[int, int]
) -> NDArray[np.float32]:
    """Return images as a network's input (N, 3, H, W); ``frame`` is its (height, width)."""
    return normalise_all([about.data.fitted(p, frame)[0] for p in pictures], frame)


def _difference(
    reference: Engine, engine: Engine, images: NDArray[np.float32], batch: int | None
) -> Difference:
    expected_boxes, expected_scores = _run(reference, images, 1)  # compiles one shape only
    boxes, scores = _run(engine, images, batch or len(images))
    limits = np.array([*images.shape[:1:-1]] * 2, np.float32)  # width, height, width, height
    return Difference(
        _largest(expected_boxes.clip(0, limits), boxes.clip(0, limits)),
        _largest(expected_scores, scores),
    )


def _run(
    engine: Engine, images: NDArray[np.float32], batch: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    runs = [engine.run(images[i : i + batch]) for i in range(0, len(images), batch)]
    boxes, scores = (np.concatenate(outputs) for outputs in zip(*runs, strict=True))
    return boxes, scores


def _largest(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the largest difference: nan if there is a nan, infinity if the shapes differ."""
    return float(np.abs(a - b).max()) if a.shape == b.shape else float("inf")


def compare_suppressed(plain: Path, suppressed: Path, pictures: Sequence[Pixels]) -> None:
    """Check that a file that suppresses gives the detections that ``postprocess.py`` gives.

    Args:
        plain: a file of the same network, which gives all boxes.
        suppressed: the file to check.

    Raises:
        EngineError: the detections differ.
    """
    expected, detections = (Detector.load(path).detect(pictures) for path in (plain, suppressed))
    for index, (a, b) in enumerate(zip(expected, detections, strict=True)):
        if not same(a, b):
            raise EngineError(
                "exported file that suppresses must give the detections of postprocess.py, got "
                f"{len(b)} instead of {len(a)}, or other ones, in image {index}"
            )


def same(a: Detections, b: Detections) -> bool:
    """Return True if detections are equal except for rounding and the order of equal scores.

    Detections of the same class overlap little, so each has one nearest counterpart.
    """
    if sorted(a.labels) != sorted(b.labels):
        return False
    for label in np.unique(a.labels):
        rows, columns = a.labels == label, b.labels == label
        distance = np.abs(a.boxes[rows][:, None] - b.boxes[columns]).max(axis=2)
        nearest = distance.argmin(axis=1)
        scores = np.abs(a.scores[rows] - b.scores[columns][nearest])
        if len(set(nearest)) < len(nearest) or distance.min(axis=1).max() > ROUNDING:
            return False
        if scores.max() > TOLERANCES["fp32"][1]:
            return False
    return True
