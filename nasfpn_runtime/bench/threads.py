"""Time a detector that several threads call at once, by engine.

Each engine is timed as it is, and with one lock around its runs. The difference is what parallel
runs bring, or would cost; preparing images and selecting detections is parallel in both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import searched_archs
from nasfpn_runtime.bench.parity import pictures, write_random
from nasfpn_runtime.data.drawn import draw_picture
from nasfpn_runtime.export.exporter import ExportRequest, export
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.inference.engines.base import Engine
from nasfpn_runtime.pictures.image import Pixels
from nasfpn_runtime.recipe.recipe import Recipe
from search_space.genome import Genome

THREADS = (1, 2, 4, 8)
FILES = (
    ("ckpt", "mindspore"),
    ("mindir", "mindspore"),
    ("onnx", "onnxruntime"),
    ("onnx", "openvino"),
)
IMAGES = 32  # in each round


@dataclass(frozen=True)
class ThreadsRow:
    """Medians over the rounds, in images per second.

    Attributes:
        format, engine: an entry of ``FILES``.
        threads: number of threads that call the detector.
        own: speed of the engine as it is.
        locked: speed with a lock around its runs.
    """

    format: str
    engine: str
    threads: int
    own: float
    locked: float


class LockedEngine:
    """An engine that one thread at a time may run."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.lock = engine, threading.Lock()

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """See ``base.Engine``."""
        with self.lock:
            return self.engine.run(*inputs)


def time_threads(
    folder: Path,
    recipe: Recipe,
    rounds: int,
    genome: Genome | None = None,
    threads: Sequence[int] = THREADS,
    images: int = IMAGES,
) -> Iterator[ThreadsRow]:
    """Yield the speeds of each engine with each number of threads.

    Args:
        folder: folder to write the files to.
        recipe: of the network, which has random weights.
        rounds: number of times that ``images`` images are detected with each setting, in turn.
        genome: the pyramid; None for the published one.

    Raises:
        MissingPackageError: the package of an engine is not installed.
    """
    source = folder / "a.ckpt"
    write_random(source, recipe, genome or searched_archs.load("nasfpn"))
    for format in ("mindir", "onnx"):
        export(source, source.with_suffix(f".{format}"), ExportRequest(format), pictures()[:1])
    rng = np.random.default_rng(0)
    drawn = [draw_picture(int(side), rng)[0] for side in rng.integers(150, 400, images)]
    for format, engine in FILES:
        with Detector.load(source.with_suffix(f".{format}"), engine) as own:
            locked = Detector(LockedEngine(own.engine), own.description)
            own(drawn[0])  # compiles
            for count in threads:
                times = [
                    [_speed(detector, drawn, count) for detector in (own, locked)]
                    for _ in range(rounds)
                ]
                speeds = [median(column) for column in zip(*times, strict=True)]
                yield ThreadsRow(format, engine, count, *speeds)


def _speed(detector: Detector, images: Sequence[Pixels], threads: int) -> float:
    """Return the images per second that the threads detect together."""
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        for _ in pool.map(detector, images):
            pass
        return len(images) / (time.perf_counter() - started)
