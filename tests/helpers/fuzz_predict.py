"""Predict on thousands of files that are broken, huge, unusual or not images at all.

``python tests/helpers/fuzz_predict.py [COUNT] [--seed N] [--model FILE] [--memory MB]`` makes
the files and runs prediction on them in a process with limited memory. The exit code is 1 if any
file was neither read nor reported, or was treated otherwise than it should be. A file that takes
longer than a minute ends the program with a traceback.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import resource
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

import numpy as np

from nasfpn_runtime.cluster.device import set_device
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.predict.inputs import InputFile
from nasfpn_runtime.predict.loop import PredictOptions, predict
from nasfpn_runtime.predict.naming import Frame
from nasfpn_runtime.predict.results import CocoResults, PictureFolder
from predict_inputs import write_inputs
from predict_stub import detector as stub

PART = 200  # files on disk at a time
SECONDS = 60  # limit for one file


class SeenPaths:
    """A sink that notes which files were read."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()

    def add(self, frame: Frame, detections: Detections) -> None:
        """See ``results.Sink``."""
        assert np.isfinite(detections.boxes).all()
        self.paths.add(frame.file.path)


class Stopwatch:
    """Ends the process if a file takes too long, and records the slowest.

    Attributes:
        slowest: seconds and name of the file that took longest.
    """

    def __init__(self) -> None:
        self.slowest = (0.0, "")

    def over(self, files: Iterable[InputFile]) -> Iterator[InputFile]:
        """Yield the files; a file takes the time until the next one is requested."""
        for file in files:
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            started = time.monotonic()
            yield file
            self.slowest = max(self.slowest, (time.monotonic() - started, file.path.name))
        faulthandler.cancel_dump_traceback_later()


def run_part(
    detector: Detector,
    rng: np.random.Generator,
    count: int,
    stopwatch: Stopwatch,
    tally: Counter[str],
) -> list[str]:
    """Make files and predict on them; return a line for each that was treated wrongly."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "in")
        folder.mkdir()
        made = write_inputs(rng, folder, count)
        reports: list[str] = []
        seen = SeenPaths()
        sinks = [seen, PictureFolder(Path(name, "out")), CocoResults(io.StringIO(), detector.names)]
        files = [InputFile(path, PurePath(path.name)) for path in made]
        predict(detector, stopwatch.over(files), sinks, PredictOptions(), reports.append)
    wrong = []
    for path, (kind, good) in made.items():
        lines = [line for line in reports if path.name in line]
        read = path in seen.paths
        tally["read"] += read
        tally["reported"] += bool(lines)
        tally[f"of kind {kind}"] += 1
        if not read and not lines:
            wrong.append(f"{path.name} must be read or reported, got neither")
        if any("\n" in line for line in lines) or len(lines) > 1:
            wrong.append(f"{path.name} must be reported in one line, got {lines}")
        if good is True and lines:
            wrong.append(f"{path.name} must be read, got {lines[0]}")
        if good is False and read:
            wrong.append(f"{path.name} must be reported, got it read")
    return wrong


def limit(megabytes: int) -> None:
    """Limit the memory that the process may allocate from now on."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (megabytes << 20),) * 2)


def main() -> int:
    """Run the program; see the docstring of the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int, nargs="?", default=5000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--memory", type=int, default=2048)
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    faulthandler.enable()
    if args.model is not None:
        set_device("CPU")
    detector = stub() if args.model is None else Detector.load(args.model)
    detector(np.zeros((8, 8, 3), np.uint8))  # so that the network's own memory is not counted
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit(args.memory)
    rng, stopwatch, tally = np.random.default_rng(args.seed), Stopwatch(), Counter[str]()
    started, wrong = time.monotonic(), []
    for first in range(0, args.count, PART):
        part = min(PART, args.count - first)
        wrong += run_part(detector, rng, part, stopwatch, tally)
        done = f"{first + part:,} files in {time.monotonic() - started:.0f} s"
        print(f"{done}, {len(wrong)} wrong", file=sys.stderr, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for key, value in sorted(tally.items()):
        print(f"{value:6,} {key}")
    print(f"{stopwatch.slowest[0]:6.1f} s for the slowest, {stopwatch.slowest[1]}")
    print(f"{(peak - before) >> 10:6,} MB allocated, of {args.memory:,} allowed")
    print(f"{len(wrong):6,} wrong", *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
