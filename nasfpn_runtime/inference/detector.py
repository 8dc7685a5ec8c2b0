"""Detect objects in images with a checkpoint or an exported file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime import interrupts
from nasfpn_runtime.cluster.sharing import lock
from nasfpn_runtime.errors import EngineError, warn_renamed
from nasfpn_runtime.inference.arrays import Picture, to_array
from nasfpn_runtime.inference.description import Description
from nasfpn_runtime.inference.engines.base import BATCH, Engine
from nasfpn_runtime.inference.engines.registry import open_model
from nasfpn_runtime.inference.postprocess import Detections, choose, select_classes, without_padding
from nasfpn_runtime.pictures.anchors import anchor_levels
from nasfpn_runtime.pictures.image import Pixels, Placement, normalise_all
from nasfpn_runtime.recipe.settings import DetectionRule


class Detector:
    """A checkpoint or exported file that detects objects in images, in any engine.

    ``Detector.load("best.ckpt")("image.jpg")`` returns :class:`Detections`: ``boxes`` (n, 4)
    xyxy in pixels of the image as a viewer shows it (rotated by its EXIF orientation),
    ``scores``, ``labels`` and ``names``, highest score first.

    An image is a path, a PIL image or an array (height, width, 3) uint8 RGB. It is prepared in
    the same way as when the checkpoint was scored. If the sides of a file are fixed, every image
    is padded to that size, even if the recipe pads each image to a size of its own
    (``data.pad: picture``).

    Any number of threads may call one detector at the same time. Images are prepared and
    detections selected in parallel; how far the engine's runs are parallel is told in
    ``inference/engines/``. A detector that was loaded from a file can be pickled, and opens the
    file again where it is unpickled. In a forked process it also opens the file again, on its
    first use; MindSpore and OpenVINO do not allow that once they have started in the parent.

    :meth:`close` frees the model. ``with Detector.load(path) as detector:`` does so at the end
    of the block.

    Attributes:
        description: input size, preparation of images and detection rule.
    """

    def __init__(self, engine: Engine, description: Description) -> None:
        self.description = description
        self._engine: Engine | None = engine
        self._source: _Source | None = None
        self._process = os.getpid()

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
        source = _Source(Path(path).absolute(), engine, stacks, progress)
        # Messages name the file as the caller does.
        detector = cls(*open_model(Path(path), engine, stacks, progress=progress))
        detector._source = source
        return detector

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self.description.names

    @property
    def engine(self) -> Engine:
        """The engine with the model, opened in this process.

        Raises:
            EngineError: the detector is closed, or the process was forked from one in which the
                engine had started and cannot start again.
            CheckpointError: the file must be opened again, and cannot be read any more.
        """
        if self._process != os.getpid():
            self._reopen()
        engine = self._engine
        if engine is None:
            of = f" (of {self._source.path})" if self._source else ""
            raise EngineError(
                f"cannot use a closed detector{of}; load it again with Detector.load, or close it "
                "later"
            )
        return engine

    def _reopen(self) -> None:
        """Open the file in this process, which was forked from the one that opened it."""
        with lock("detectors"):
            if self._process == os.getpid():  # another thread was first
                return
            if self._engine is not None and self._source is not None:
                self._engine, self.description = self._source.load()
            self._process = os.getpid()

    def close(self) -> None:
        """Free the model and its memory; later calls of the detector raise an EngineError.

        Calls in other threads that have begun to run an image end as usual, and the last one
        frees the model. Closing twice does nothing.
        """
        with lock("detectors"):
            self._engine = None

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path and the arguments of :meth:`load`, not the weights.

        Raises:
            EngineError: the detector is closed, or was not loaded from a file.
        """
        if self._engine is None or self._source is None:
            kind = "a closed detector" if self._source else "a detector not made by Detector.load"
            raise EngineError(f"cannot pickle {kind}; load it in each process")
        return _load, (self._source,)

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
            detections += self.find([self.fit(to_array(picture)) for picture in batch])
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

        Raises:
            EngineError: the engine cannot run the images, or see :attr:`engine`.
        """
        if columns is not None:
            warn_renamed("columns of Detector.find", "classes")
            classes = columns
        interrupts.check()
        engine = self.engine
        frames: dict[tuple[int, int], list[int]] = {}
        for index, (_, placement) in enumerate(fitted):
            frames.setdefault(self._frame(placement), []).append(index)
        detections: dict[int, Detections] = {}
        for frame, indices in frames.items():
            same_frame = [fitted[index] for index in indices]
            results = self._run(engine, frame, same_frame, rule, classes)
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
        engine: Engine,
        frame: tuple[int, int],
        fitted: Sequence[tuple[Pixels, Placement]],
        rule: DetectionRule | None,
        classes: Sequence[int] | None,
    ) -> list[Detections]:
        """Return the detections in scaled images that are all padded to ``frame``."""
        pictures, placements = zip(*fitted, strict=True)
        images = normalise_all(pictures, frame)
        if self.description.suppressed:
            table = np.array([(p.scale_x, p.scale_y, p.height, p.width) for p in placements])
            outputs = self._outputs(engine, images, table.astype(np.float32))
            detections = [without_padding(*rows) for rows in zip(*outputs, strict=True)]
            return [self._named(select_classes(d, classes), classes) for d in detections]
        boxes, scores = self._outputs(engine, images)
        rule = rule or self.description.detection
        if classes is not None:
            scores = scores[:, :, list(classes)]
        levels = anchor_levels(self.description.levels, frame, self.description.anchors)
        return [
            self._named(choose(s, b, levels, placement, rule), classes)
            for s, b, placement in zip(scores, boxes, placements, strict=True)
        ]

    def _outputs(self, engine: Engine, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """Run the engine, in parts of the batch size that the file requires."""
        count, size = len(inputs[0]), self.description.batch
        if size is None:
            return engine.run(*inputs)
        runs = []
        for start in range(0, count, size):
            part = [x[start : start + size] for x in inputs]
            missing = size - len(part[0])  # filled up with copies of the last image
            full = [np.concatenate([x, *[x[-1:]] * missing]) for x in part]
            runs.append(engine.run(*full))
        return tuple(np.concatenate(parts)[:count] for parts in zip(*runs, strict=True))

    def _named(self, detections: Detections, classes: Sequence[int] | None) -> Detections:
        """Return detections with the names of the classes that were looked for."""
        names = self.names if classes is None else tuple(self.names[c] for c in classes)
        return replace(detections, categories=names)


@dataclass(frozen=True)
class _Source:
    """The file of a detector and the arguments of ``Detector.load``."""

    path: Path
    engine: str | None
    stacks: int | None
    progress: bool

    def load(self) -> tuple[Engine, Description]:
        return open_model(self.path, self.engine, self.stacks, progress=self.progress)


def _load(source: _Source) -> Detector:
    """Return a pickled detector."""
    return Detector.load(source.path, source.engine, stacks=source.stacks, progress=source.progress)
