"""How far an exported file is from the checkpoint it was made of."""

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

# Shares of the input's longer side for boxes, and scores. Rounding of float32 in 60 convolutions
# one after another comes to a few thousandths of a pixel at 640, that of float16 to a few pixels
# where an anchor has half that side.
TOLERANCES = {"fp32": (1e-4, 1e-4), "fp16": (2e-2, 5e-2)}
PIXEL = 0.01  # what rounding may do to a stored coordinate


@dataclass(frozen=True)
class Difference:
    """Largest differences, or what they may be; boxes are clipped to the input before.

    Attributes:
        boxes: in px of the network's input.
        scores: 0 to 1.
    """

    boxes: float
    scores: float

    def within(self, limits: Difference) -> bool:
        """Whether neither is larger; not-a-number is."""
        return self.boxes <= limits.boxes and self.scores <= limits.scores


def allowed(about: Description) -> Difference:
    """Return the largest differences that the precision explains."""
    boxes, scores = TOLERANCES[about.precision]
    return Difference(boxes * max(about.size), scores)


def compare(
    reference: Engine,
    path: Path,
    about: Description,
    pictures: Sequence[Pixels],
    engine: str | None = None,
) -> Difference:
    """Return the differences of a file from ``reference`` over all boxes and pictures.

    Where sides are not fixed, half the size, as far as it is a multiple of the coarsest
    stride, is compared too.

    Args:
        reference: the checkpoint.
        engine: what the file runs in; None for the usual.

    Raises:
        EngineError: they are too large.
    """
    loaded, _ = open_model(path, engine)
    frames = [about.size]
    if not about.fixed:
        height, width = (max(1, side // about.stride // 2) * about.stride for side in about.size)
        frames += [(height, width)]
    found = [
        _difference(reference, loaded, inputs(pictures, about, frame), about.batch)
        for frame in frames
    ]
    worst = Difference(
        float(np.max([d.boxes for d in found])), float(np.max([d.scores for d in found]))
    )
    limits = allowed(about)
    if not worst.within(limits):
        raise EngineError(
            f"an exported file gives the checkpoint's boxes to {limits.boxes:.2g} px and scores to "
            f"{limits.scores} in {about.precision}, got {worst.boxes:.2g} px and {worst.scores:.2g}"
        )
    return worst


def inputs(
    pictures: Sequence[Pixels], about: Description, frame: tuple[int, int]
) -> NDArray[np.float32]:
    """Return pictures as an input (N, 3, H, W) of (height, width)."""
    return normalise_all([about.data.fitted(p, frame)[0] for p in pictures], frame)


def _difference(
    reference: Engine, engine: Engine, images: NDArray[np.float32], batch: int | None
) -> Difference:
    boxes, scores = _run(reference, images, 1)  # its network is compiled once
    theirs, their_scores = _run(engine, images, batch or len(images))
    limits = np.array([*images.shape[:1:-1]] * 2, np.float32)  # width, height, width, height
    return Difference(
        _largest(boxes.clip(0, limits), theirs.clip(0, limits)), _largest(scores, their_scores)
    )


def _run(
    engine: Engine, images: NDArray[np.float32], part: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    runs = [engine.run(images[i : i + part]) for i in range(0, len(images), part)]
    boxes, scores = (np.concatenate(outputs) for outputs in zip(*runs, strict=True))
    return boxes, scores


def _largest(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the largest difference, not-a-number if there is one; infinite for other shapes."""
    return float(np.abs(a - b).max()) if a.shape == b.shape else float("inf")


def compare_suppressed(plain: Path, suppressed: Path, pictures: Sequence[Pixels]) -> None:
    """Compare the detections inside a file with those made of its twin's boxes by our rule.

    Raises:
        EngineError: they are not the same.
    """
    ours, theirs = (Detector.load(path).detect(pictures) for path in (plain, suppressed))
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if not same(a, b):
            raise EngineError(
                f"a file that suppresses finds what postprocess.py does, got {len(b)} detections "
                f"instead of {len(a)}, or others, in picture {number}"
            )


def same(a: Detections, b: Detections) -> bool:
    """Whether two lists of detections are equal but for rounding and the order of equals.

    Two of a class overlap little, so that each has one of its own that is nearest.
    """
    if sorted(a.labels) != sorted(b.labels):
        return False
    for label in np.unique(a.labels):
        rows, columns = a.labels == label, b.labels == label
        apart = np.abs(a.boxes[rows][:, None] - b.boxes[columns]).max(axis=2)
        nearest = apart.argmin(axis=1)
        scores = np.abs(a.scores[rows] - b.scores[columns][nearest])
        if len(set(nearest)) < len(nearest) or apart.min(axis=1).max() > PIXEL:
            return False
        if scores.max() > TOLERANCES["fp32"][1]:
            return False
    return True
