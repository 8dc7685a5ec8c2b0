"""Read files, detect in batches, write the outputs, and continue after a broken file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nasfpn_runtime.data.rows import Row
from nasfpn_runtime.errors import DataError, MissingPackageError, first_line
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.pictures.image import Pixels, Placement
from nasfpn_runtime.predict.frames import open_frames
from nasfpn_runtime.predict.inputs import InputFile
from nasfpn_runtime.predict.naming import Frame, FrameNamer
from nasfpn_runtime.predict.results import Sink
from nasfpn_runtime.progress import Progress, say
from nasfpn_runtime.recipe.settings import check
from search_space.names import printable, unique

# Pixels of a batch, unless its first image has more: images stay in memory until their boxes are
# drawn.
BATCH_PIXELS = 64_000_000

FrameInput = tuple[Frame, tuple[Pixels, Placement]]  # a frame, and its image scaled for the network


@dataclass
class Tally:
    """What a run has done.

    Attributes:
        frames: number of frames that were run through the detector.
        skipped: number of files that are broken, from the start or from some frame on.
        boxes: number of detections of each class; see ``names.unique``.
    """

    frames: int = 0
    skipped: int = 0
    boxes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class PredictOptions:
    """Settings of a run.

    Attributes:
        score: minimum score of a detection (exclusive); None for that of the detector.
        batch: largest number of frames in a batch; see also ``BATCH_PIXELS``.

    Raises:
        RecipeError: a value is out of range.
    """

    score: float | None = 0.3
    batch: int = 8

    def __post_init__(self) -> None:
        check(self, "score", lambda v: v is None or 0 <= v <= 1, "from 0 to 1")
        check(self, "batch", lambda v: v > 0, "above 0")


def predict(
    detector: Detector,
    files: Iterable[InputFile],
    sinks: Sequence[Sink],
    options: PredictOptions,
    report: Callable[[str], None] = say,
    *,
    total: int | None = None,
) -> Tally:
    """Detect in every frame of every file, and pass the detections to the sinks in order.

    The progress in frames is shown on standard error.

    Args:
        report: takes one line about each file that cannot be read to its end.
        total: number of files, if it is known.

    Raises:
        EngineError: the engine cannot run an input.
        OSError: an output cannot be written.
    """
    tally = Tally()
    with Progress("predict", "frame", total) as progress:
        reader = _FrameReader(detector, report, progress, tally)
        for batch in batches(reader.frames(files), options.batch):
            detect_batch(detector, batch, sinks, options, tally)
            progress.advance(len(batch))
    return tally


def detect_batch(
    detector: Detector,
    batch: list[FrameInput],
    sinks: Sequence[Sink],
    options: PredictOptions,
    tally: Tally,
    *,
    classes: Sequence[int] | None = None,
) -> None:
    """Detect in frames, pass the detections to the sinks and count them.

    Args:
        classes: see ``Detector.find``.
    """
    rule = detector.description.detection
    if options.score is not None:
        rule = replace(rule, score=options.score)
    names = unique(detector.names if classes is None else (detector.names[c] for c in classes))
    results = detector.find([fitted for _, fitted in batch], rule=rule, classes=classes)
    for (frame, _), detections in zip(batch, results, strict=True):
        kept = _above(detections, rule.score)
        for sink in sinks:
            sink.add(frame, kept)
        tally.frames += 1
        tally.boxes.update(names[label] for label in kept.labels)


def _above(detections: Detections, score: float) -> Detections:
    """Return the detections above a score. A file that suppresses has applied its own rule."""
    rows = detections.scores > score
    return replace(
        detections,
        boxes=detections.boxes[rows],
        scores=detections.scores[rows],
        labels=detections.labels[rows],
    )


class _FrameReader:
    """Reads frames and scales them; counts and reports files that cannot be read."""

    def __init__(
        self,
        detector: Detector,
        report: Callable[[str], None],
        progress: Progress,
        tally: Tally,
    ) -> None:
        self.detector, self.report = detector, report
        self.progress, self.tally = progress, tally
        self.namer = FrameNamer()

    def frames(self, files: Iterable[InputFile]) -> Iterator[FrameInput]:
        for file in files:
            try:
                yield from self._read(file)
            except (DataError, MissingPackageError) as error:
                self.tally.skipped += 1
                reason = str(error).removesuffix(f" (at {file.path})")
                self.report(printable(f"skipped {file.path}: {reason}"))

    def _read(self, file: InputFile) -> Iterator[FrameInput]:
        self.progress.expect(-1)  # the file was counted as one frame
        count, images = open_frames(file.path)
        self.progress.expect(count)
        done = 0
        try:
            for number, pixels in enumerate(images, start=1):
                fitted = fit(self.detector, pixels, file.path)
                yield self.namer.frame(file, number if count > 1 else None, pixels), fitted
                done += 1
        finally:
            self.progress.expect(done - count)  # a broken file may have fewer frames


def fit(detector: Detector, pixels: Pixels, path: Path | Row) -> tuple[Pixels, Placement]:
    """Return an image scaled for the network, see ``Detector.fit``.

    Raises:
        DataError: it cannot be scaled.
    """
    try:
        return detector.fit(pixels)
    except RuntimeError as error:  # MindSpore's, for one pixel, or 33,000 in a row
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise DataError(
            f"cannot scale an image of {size} pixels: {first_line(error)} (at {path})"
        ) from None


def batches(frames: Iterable[FrameInput], most: int) -> Iterator[list[FrameInput]]:
    """Yield lists of at most ``most`` frames that have at most ``BATCH_PIXELS`` together.

    A frame with more pixels is a batch of its own. The list is cleared and filled again, so that
    a large image is freed before the next one is read.
    """
    batch: list[FrameInput] = []
    pixels = 0
    for item in frames:
        size = int(np.prod(item[0].pixels.shape[:2]))
        if batch and pixels + size > BATCH_PIXELS:
            yield batch
            batch.clear()
            pixels = 0
        batch.append(item)
        del item
        pixels += size
        if len(batch) == most or pixels >= BATCH_PIXELS:
            yield batch
            batch.clear()
            pixels = 0
    if batch:
        yield batch
