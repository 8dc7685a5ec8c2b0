"""Detect in the images of a split of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.data.samples import Sample
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.predict.inputs import InputFile
from nasfpn_runtime.predict.loop import (
    FrameInput,
    PredictOptions,
    Tally,
    batches,
    detect_batch,
    fit,
)
from nasfpn_runtime.predict.naming import FrameNamer
from nasfpn_runtime.predict.results import Sink
from nasfpn_runtime.progress import Progress, say
from nasfpn_runtime.scoring.evaluate import batches_by_frame, class_indices
from search_space.names import printable


def predict_split(
    detector: Detector,
    split: Split,
    sinks: Sequence[Sink],
    options: PredictOptions,
    report: Callable[[str], None] = say,
) -> Tally:
    """Detect in every image of a split, and pass the detections to the sinks.

    Images are prepared and divided into batches as in scoring (``scoring.evaluate``), and only
    the categories of the split are detected, so with the score of the detector's own rule the
    detections are those that are scored. Their labels are the class numbers of the split.

    Args:
        report: takes one line about each image that cannot be read.

    Raises:
        CheckpointError: the detector lacks a category of the split.
        DataError: the split has no categories.
        EngineError: the engine cannot run an input.
        OSError: an output cannot be written.
    """
    if not split.categories:
        raise DataError(
            f"a dataset must have categories to detect, got none (at {split.annotation_file})"
        )
    classes = class_indices(detector.names, split)
    about = detector.description
    pictures = Pictures(split, about.size, about.data, cache_bytes=0)  # only for the sizes
    tally = Tally()
    with Progress("predict", "image", len(split.samples)) as progress:
        reader = _Reader(detector, report, tally)
        indices = range(len(split.samples))
        for batch in batches_by_frame(pictures, indices, about.stride, options.batch):
            samples = [split.samples[index] for index in batch]
            for part in batches(reader.frames(samples), options.batch):
                detect_batch(detector, part, sinks, options, tally, classes=classes)
            progress.advance(len(batch))
    return tally


class _Reader:
    """Reads samples and scales them; counts and reports those that cannot be read."""

    def __init__(self, detector: Detector, report: Callable[[str], None], tally: Tally) -> None:
        self.detector, self.report, self.tally = detector, report, tally
        self.namer = FrameNamer()

    def frames(self, samples: Sequence[Sample]) -> Iterator[FrameInput]:
        for sample in samples:
            try:
                pixels = sample.read()
                fitted = fit(self.detector, pixels, sample.path)
            except DataError as error:
                self.tally.skipped += 1
                reason = str(error).removesuffix(f" (at {sample.path})")
                self.report(printable(f"skipped {sample.path}: {reason}"))
                continue
            name = sample.path.name
            file = InputFile(Path(name), PurePath(name))
            frame = self.namer.frame(file, None, pixels)
            yield replace(frame, image_id=sample.image_id), fitted
