"""From files to boxes: read, detect in batches, write, and go on after a file that is broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from nasfpn_runtime.data.mindrecord import reason
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.pictures.image import Pixels, Placement
from nasfpn_runtime.predict.frames import open_frames
from nasfpn_runtime.predict.inputs import InputFile
from nasfpn_runtime.predict.naming import Frame, Names
from nasfpn_runtime.predict.results import Sink
from nasfpn_runtime.recipe.settings import check

# Of a batch, besides its first picture: pictures are kept until their boxes are drawn.
BATCH_PIXELS = 64_000_000

_Fitted = tuple[Frame, tuple[Pixels, Placement]]


@dataclass
class Tally:
    """What a run did.

    Attributes:
        frames: looked at.
        skipped: files that are broken, or from some frame on.
        boxes: found, of each class.
    """

    frames: int = 0
    skipped: int = 0
    boxes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Options:
    """How a run looks.

    Attributes:
        score: what a detection's score is above.
        batch: frames that are looked at together, while they have few pixels.
    """

    score: float = 0.3
    batch: int = 8

    def __post_init__(self) -> None:
        check(self, "score", lambda v: 0 <= v <= 1, "from 0 to 1")
        check(self, "batch", lambda v: v > 0, "above 0")


def predict(
    detector: Detector,
    sources: Iterable[InputFile],
    sinks: Sequence[Sink],
    options: Options,
    report: Callable[[str], None],
    *,
    total: int | None = None,
) -> Tally:
    """Look at every frame of every file and hand what was found to the sinks, in order.

    A bar on standard error, where it is a terminal, counts frames and says how long it takes.

    Args:
        report: takes a line about each file that cannot be used, or not to its end.
        total: files, where that is known.

    Raises:
        EngineError: the engine refuses.
        OSError: something cannot be written.
    """
    tally = Tally()
    with tqdm(total=total, desc="predict", unit="frame", disable=None) as bar:
        reader = _Reader(detector, report, bar, tally)
        for batch in _batches(reader.frames(sources), options.batch):
            _look(detector, batch, sinks, options, tally)
            bar.update(len(batch))
    return tally


def _look(
    detector: Detector,
    batch: list[_Fitted],
    sinks: Sequence[Sink],
    options: Options,
    tally: Tally,
) -> None:
    rule = replace(detector.description.detection, score=options.score)
    results = detector.find([fitted for _, fitted in batch], rule=rule)
    for (frame, _), found in zip(batch, results, strict=True):
        clear = _clear(found, options.score)
        for sink in sinks:
            sink.add(frame, clear)
        tally.frames += 1
        tally.boxes.update(clear.names)


def _clear(found: Detections, score: float) -> Detections:
    """Return those above the score, also of a file whose own rule was applied in it."""
    kept = found.scores > score
    return replace(
        found, boxes=found.boxes[kept], scores=found.scores[kept], labels=found.labels[kept]
    )


class _Reader:
    """Reads frames and scales them; counts and tells what cannot be read."""

    def __init__(
        self, detector: Detector, report: Callable[[str], None], bar: tqdm[Any], tally: Tally
    ) -> None:
        self.detector, self.report, self.bar, self.tally = detector, report, bar, tally
        self.names = Names()

    def frames(self, sources: Iterable[InputFile]) -> Iterator[_Fitted]:
        for source in sources:
            try:
                yield from self._of(source)
            except DataError as error:
                self.tally.skipped += 1
                why = str(error).removesuffix(f" (at {source.path})")
                with tqdm.external_write_mode():
                    self.report(one_line(f"skipped {source.path}: {why}"))

    def _of(self, source: InputFile) -> Iterator[_Fitted]:
        self._expect(-1)
        count, pictures = open_frames(source.path)
        self._expect(count)
        done = 0
        try:
            for number, pixels in enumerate(pictures, start=1):
                fitted = self._fit(pixels, source)
                yield self.names.frame(source, number if count > 1 else None, pixels), fitted
                done += 1
        finally:
            self._expect(done - count)  # a broken file may have fewer frames than it says

    def _fit(self, pixels: Pixels, source: InputFile) -> tuple[Pixels, Placement]:
        try:
            return self.detector.fit(pixels)
        except RuntimeError as error:  # of MindSpore, for one pixel or 33,000 in a row
            size = f"{pixels.shape[1]} x {pixels.shape[0]}"
            raise DataError(
                f"a picture can be scaled, got {size}: {reason(error)} (at {source.path})"
            ) from None

    def _expect(self, more: int) -> None:
        if self.bar.total is not None:
            self.bar.total += more


def _batches(frames: Iterable[_Fitted], most: int) -> Iterator[list[_Fitted]]:
    """Yield up to ``most`` frames; fewer where they have more than ``BATCH_PIXELS``.

    The list is emptied and filled again, so that a large picture is gone before the next.
    """
    batch: list[_Fitted] = []
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


def one_line(text: str) -> str:
    """Return a text that is one line and cannot steer a terminal, whatever a file's name is."""
    shown = (c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
    return "".join(shown)
