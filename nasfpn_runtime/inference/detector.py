"""One class for those who have a trained detector and a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nasfpn_runtime import interrupts
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.inference.description import Description
from nasfpn_runtime.inference.engines.base import BATCH, Engine
from nasfpn_runtime.inference.engines.registry import open_model
from nasfpn_runtime.inference.postprocess import Detections, choose
from nasfpn_runtime.pictures.anchors import anchor_levels
from nasfpn_runtime.pictures.image import (
    Pixels,
    Placement,
    fit_size,
    normalise_all,
    read_image,
    to_pixels,
)
from nasfpn_runtime.recipe.settings import DetectionRule

Picture = str | PathLike[str] | Image.Image | Pixels


class Detector:
    """A checkpoint or exported file that finds things in pictures, whatever the engine.

    ``Detector.load("best.ckpt")("picture.jpg")`` gives :class:`Detections`: ``boxes`` (n, 4)
    xyxy in pixels of the picture as a viewer shows it (turned as its EXIF entry says),
    ``scores``, ``labels`` and ``names``, best first.

    A picture is a path, a PIL image or (height, width, 3) uint8 RGB. It is prepared as when
    the checkpoint was scored. A file whose sides are fixed gets every picture in that size,
    also where its recipe would pad each to a size of its own (``data.pad: picture``).

    Attributes:
        names: of the classes, by label.
        description: sizes, preparation and rule.
    """

    def __init__(self, engine: Engine, description: Description) -> None:
        self.engine, self.description = engine, description
        self.names = description.names

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        engine: str | None = None,
        *,
        stacks: int | None = None,
    ) -> Detector:
        """Return the detector in a ``.ckpt``, ``.mindir`` or ``.onnx`` file.

        Args:
            engine: ``mindspore`` (``.ckpt``, ``.mindir``), ``mindspore_lite`` (``.mindir``),
                ``onnxruntime`` or ``openvino`` (``.onnx``); None for the first of the file's.
            stacks: of a checkpoint's pyramid, cut after so many; None for all.

        Raises:
            EngineError, CheckpointError, RecipeError: see ``registry.open_model``.
        """
        return cls(*open_model(Path(path), engine, stacks))

    def __call__(self, picture: Picture) -> Detections:
        """Return what is in a picture.

        Raises:
            DataError: it cannot be read, or is no picture.
            EngineError: the engine refuses.
        """
        return self.detect([picture])[0]

    def detect(self, pictures: Iterable[Picture]) -> list[Detections]:
        """Return what is in each picture, in their order; see :meth:`__call__`.

        They are read and run in batches of ``BATCH``.
        """
        found: list[Detections] = []
        left = iter(pictures)
        while batch := list(islice(left, BATCH)):
            found += self.find([self.fit(_pixels(picture)) for picture in batch])
        return found

    def fit(self, picture: Pixels) -> tuple[Pixels, Placement]:
        """Return a picture scaled for the network, see ``image.fit``."""
        return self.description.data.fitted(picture, self.description.size)

    def find(
        self,
        fitted: Sequence[tuple[Pixels, Placement]],
        *,
        rule: DetectionRule | None = None,
        columns: Sequence[int] | None = None,
    ) -> list[Detections]:
        """Return what is in each picture that :meth:`fit` scaled, in stored pixels.

        Args:
            rule: instead of the description's; a file that suppresses knows no other.
            columns: classes to look for, which get the labels 0, 1, ...; None for all.
        """
        interrupts.check()
        frames: dict[tuple[int, int], list[int]] = {}
        for index, (_, placement) in enumerate(fitted):
            frames.setdefault(self._frame(placement), []).append(index)
        found: dict[int, Detections] = {}
        for frame, indices in frames.items():
            chosen = [fitted[index] for index in indices]
            results = self._run(frame, chosen, rule or self.description.detection, columns)
            found.update(zip(indices, results, strict=True))
        return [found[index] for index in range(len(fitted))]

    def _frame(self, placement: Placement) -> tuple[int, int]:
        """Return the (height, width) that a picture is padded to."""
        about = self.description
        if about.fixed or about.data.pad == "image":
            return about.size
        return fit_size((placement.height, placement.width), about.stride)

    def _run(
        self,
        frame: tuple[int, int],
        fitted: Sequence[tuple[Pixels, Placement]],
        rule: DetectionRule,
        columns: Sequence[int] | None,
    ) -> list[Detections]:
        pictures, places = zip(*fitted, strict=True)
        images = normalise_all(pictures, frame)
        if self.description.suppressed:
            table = np.array([(p.scale_x, p.scale_y, p.height, p.width) for p in places])
            outputs = self._outputs(images, table.astype(np.float32))
            found = [_listed(*rows) for rows in zip(*outputs, strict=True)]
            return [self._named(_only(d, columns), columns) for d in found]
        boxes, scores = self._outputs(images)
        if columns is not None:
            scores = scores[:, :, list(columns)]
        levels = anchor_levels(self.description.levels, frame, self.description.anchors)
        return [
            self._named(choose(s, b, levels, place, rule), columns)
            for s, b, place in zip(scores, boxes, places, strict=True)
        ]

    def _outputs(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """Run the engine, in parts of the size it takes."""
        count, part = len(inputs[0]), self.description.batch
        if part is None:
            return self.engine.run(*inputs)
        runs = []
        for start in range(0, count, part):
            some = [x[start : start + part] for x in inputs]
            # A part that is not full repeats its last picture.
            short = part - len(some[0])
            runs.append(self.engine.run(*(np.concatenate([x, *[x[-1:]] * short]) for x in some)))
        return tuple(np.concatenate(parts)[:count] for parts in zip(*runs, strict=True))

    def _named(self, found: Detections, columns: Sequence[int] | None) -> Detections:
        known = self.names if columns is None else tuple(self.names[c] for c in columns)
        return replace(found, categories=known)


def _pixels(picture: Picture) -> Pixels:
    if isinstance(picture, Image.Image):
        return to_pixels(picture, upright=True)
    if not isinstance(picture, np.ndarray):
        return read_image(Path(picture), upright=True)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise DataError(
            f"a picture is (height, width, 3) uint8, got {picture.shape} {picture.dtype}"
        )
    return picture


def _listed(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[np.int64]
) -> Detections:
    """Return the rows of a suppressed file that found something."""
    rows = labels >= 0
    return Detections(boxes[rows], scores[rows], labels[rows].astype(np.int32))


def _only(found: Detections, columns: Sequence[int] | None) -> Detections:
    """Return the detections of some classes, renumbered."""
    if columns is None:
        return found
    place = np.full(max(*columns, *found.labels, 0) + 1, -1, np.int32)
    place[list(columns)] = np.arange(len(columns))
    labels = place[found.labels]
    kept = labels >= 0
    return Detections(found.boxes[kept], found.scores[kept], labels[kept])
