"""Detect objects in images with a checkpoint or an exported file."""

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
from nasfpn_runtime.errors import DataError, warn_renamed
from nasfpn_runtime.inference.description import Description
from nasfpn_runtime.inference.engines.base import BATCH, Engine
from nasfpn_runtime.inference.engines.registry import open_model
from nasfpn_runtime.inference.postprocess import Detections, choose
from nasfpn_runtime.pictures.anchors import anchor_levels
from nasfpn_runtime.pictures.image import (
    Pixels,
    Placement,
    normalise_all,
    read_image,
    to_pixels,
)
from nasfpn_runtime.recipe.settings import DetectionRule

Picture = str | PathLike[str] | Image.Image | Pixels


class Detector:
    """A checkpoint or exported file that detects objects in images, in any engine.

    ``Detector.load("best.ckpt")("image.jpg")`` returns :class:`Detections`: ``boxes`` (n, 4)
    xyxy in pixels of the image as a viewer shows it (rotated by its EXIF orientation),
    ``scores``, ``labels`` and ``names``, highest score first.

    An image is a path, a PIL image or an array (height, width, 3) uint8 RGB. It is prepared in
    the same way as when the checkpoint was scored. If the sides of a file are fixed, every image
    is padded to that size, even if the recipe pads each image to a size of its own
    (``data.pad: picture``).

    Attributes:
        names: names of the classes, by label.
        description: input size, preparation of images and detection rule.
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
        progress: bool = False,
    ) -> Detector:
        """Return the detector in a ``.ckpt``, ``.mindir`` or ``.onnx`` file.

        Args:
            engine: ``mindspore`` (``.ckpt``, ``.mindir``), ``mindspore_lite`` (``.mindir``),
                ``onnxruntime`` or ``openvino`` (``.onnx``); None for the default of the suffix.
            stacks: number of stacks to keep of a checkpoint's pyramid; None for all.
            progress: report on standard error while MindSpore compiles a checkpoint's network,
                on the first image and batch of each size.

        Raises:
            EngineError, MissingPackageError, CheckpointError, RecipeError: see
                ``registry.open_model``.
        """
        return cls(*open_model(Path(path), engine, stacks, progress=progress))

    def __call__(self, picture: Picture) -> Detections:
        """Return the detections in an image.

        Raises:
            DataError: the image cannot be read, or the value is not an image.
            EngineError: the engine cannot run it.
        """
        return self.detect([picture])[0]

    def detect(self, pictures: Iterable[Picture]) -> list[Detections]:
        """Return the detections in each image, in their order; see :meth:`__call__`.

        Images are read and run in batches of ``BATCH``.
        """
        detections: list[Detections] = []
        remaining = iter(pictures)
        while batch := list(islice(remaining, BATCH)):
            detections += self.find([self.fit(_to_array(picture)) for picture in batch])
        return detections

    def fit(self, picture: Pixels) -> tuple[Pixels, Placement]:
        """Return an image scaled for the network, see ``image.fit``."""
        return self.description.data.fitted(picture, self.description.size)

    def find(
        self,
        fitted: Sequence[tuple[Pixels, Placement]],
        *,
        rule: DetectionRule | None = None,
        classes: Sequence[int] | None = None,
        columns: Sequence[int] | None = None,
    ) -> list[Detections]:
        """Return the detections in images scaled by :meth:`fit`, in pixels of the stored images.

        Args:
            rule: detection rule; None for the description's. A file that suppresses always
                applies its own.
            classes: indices of the classes to detect, which get the labels 0, 1, ... in this
                order; None for all.
            columns: the old name of ``classes``, which will be removed in version 0.3.
        """
        if columns is not None:
            warn_renamed("columns of Detector.find", "classes")
            classes = columns
        interrupts.check()
        frames: dict[tuple[int, int], list[int]] = {}
        for index, (_, placement) in enumerate(fitted):
            frames.setdefault(self._frame(placement), []).append(index)
        detections: dict[int, Detections] = {}
        for frame, indices in frames.items():
            same_frame = [fitted[index] for index in indices]
            results = self._run(frame, same_frame, rule or self.description.detection, classes)
            detections.update(zip(indices, results, strict=True))
        return [detections[index] for index in range(len(fitted))]

    def _frame(self, placement: Placement) -> tuple[int, int]:
        """Return the (height, width) that an image is padded to."""
        about = self.description
        if about.fixed:
            return about.size
        return about.data.frame(placement, about.size, about.stride)

    def _run(
        self,
        frame: tuple[int, int],
        fitted: Sequence[tuple[Pixels, Placement]],
        rule: DetectionRule,
        classes: Sequence[int] | None,
    ) -> list[Detections]:
        """Return the detections in scaled images that are all padded to ``frame``."""
        pictures, placements = zip(*fitted, strict=True)
        images = normalise_all(pictures, frame)
        if self.description.suppressed:
            table = np.array([(p.scale_x, p.scale_y, p.height, p.width) for p in placements])
            outputs = self._outputs(images, table.astype(np.float32))
            detections = [_without_padding(*rows) for rows in zip(*outputs, strict=True)]
            return [self._named(_select(d, classes), classes) for d in detections]
        boxes, scores = self._outputs(images)
        if classes is not None:
            scores = scores[:, :, list(classes)]
        levels = anchor_levels(self.description.levels, frame, self.description.anchors)
        return [
            self._named(choose(s, b, levels, placement, rule), classes)
            for s, b, placement in zip(scores, boxes, placements, strict=True)
        ]

    def _outputs(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """Run the engine, in parts of the batch size that the file requires."""
        count, size = len(inputs[0]), self.description.batch
        if size is None:
            return self.engine.run(*inputs)
        runs = []
        for start in range(0, count, size):
            part = [x[start : start + size] for x in inputs]
            missing = size - len(part[0])  # filled up with copies of the last image
            full = [np.concatenate([x, *[x[-1:]] * missing]) for x in part]
            runs.append(self.engine.run(*full))
        return tuple(np.concatenate(parts)[:count] for parts in zip(*runs, strict=True))

    def _named(self, detections: Detections, classes: Sequence[int] | None) -> Detections:
        """Return detections with the names of the classes that were looked for."""
        names = self.names if classes is None else tuple(self.names[c] for c in classes)
        return replace(detections, categories=names)


def _to_array(picture: Picture) -> Pixels:
    """Return an image as an array; see :class:`Detector`."""
    if isinstance(picture, Image.Image):
        return to_pixels(picture, upright=True)
    if not isinstance(picture, np.ndarray):
        return read_image(Path(picture), upright=True)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise DataError(
            f"an image must be (height, width, 3) uint8, got {picture.shape} {picture.dtype}"
        )
    return picture


def _without_padding(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[np.int64]
) -> Detections:
    """Return an image's outputs of a file that suppresses, without the rows that only fill up."""
    rows = labels >= 0
    return Detections(boxes[rows], scores[rows], labels[rows].astype(np.int32))


def _select(detections: Detections, classes: Sequence[int] | None) -> Detections:
    """Return the detections of some classes, labelled by their order in ``classes``."""
    if classes is None:
        return detections
    new_labels = np.full(max(*classes, *detections.labels, 0) + 1, -1, np.int32)
    new_labels[list(classes)] = np.arange(len(classes))
    labels = new_labels[detections.labels]
    kept = labels >= 0
    return Detections(detections.boxes[kept], detections.scores[kept], labels[kept])
