"""Look at thousands of files that are broken, huge, odd or no pictures at all.

``python tests/helpers/fuzz_predict.py [COUNT] [--seed N] [--model FILE] [--memory MB]`` makes
the files and runs ``nasfpn predict`` on them in a process with limited memory. The exit code
is 1 unless every file was looked at or reported, as it should be. A file that takes a minute
ends the program with a traceback.
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
from nasfpn_runtime.predict.loop import Options, predict
from nasfpn_runtime.predict.naming import Frame
from nasfpn_runtime.predict.results import CocoResults, PictureFolder
from predict_inputs import write_inputs
from predict_stub import detector as stub

PART = 200  # files that are there at a time
SECONDS = 60


class Seen:
    """A sink that notes which files were looked at."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()

    def add(self, frame: Frame, found: Detections) -> None:
        """See ``results.Sink``."""
        assert np.isfinite(found.boxes).all()
        self.paths.add(frame.source.path)


class Watch:
    """Ends the process where a file takes too long, and knows the slowest."""

    def __init__(self) -> None:
        self.slowest = (0.0, "")

    def over(self, sources: Iterable[InputFile]) -> Iterator[InputFile]:
        """Yield the sources; the time until the next is asked for is that of one."""
        for source in sources:
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            started = time.monotonic()
            yield source
            self.slowest = max(self.slowest, (time.monotonic() - started, source.path.name))
        faulthandler.cancel_dump_traceback_later()


def run_part(
    detector: Detector,
    rng: np.random.Generator,
    count: int,
    watch: Watch,
    tally: Counter[str],
) -> list[str]:
    """Make files and look at them; return what should not be."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "in")
        folder.mkdir()
        made = write_inputs(rng, folder, count)
        reports: list[str] = []
        seen = Seen()
        sinks = [seen, PictureFolder(Path(name, "out")), CocoResults(io.StringIO(), detector.names)]
        sources = [InputFile(path, PurePath(path.name)) for path in made]
        predict(detector, watch.over(sources), sinks, Options(), reports.append)
    wrong = []
    for path, (kind, good) in made.items():
        told = [line for line in reports if path.name in line]
        looked = path in seen.paths
        tally["looked at"] += looked
        tally["reported"] += bool(told)
        tally[f"of kind {kind}"] += 1
        if not looked and not told:
            wrong.append(f"{path.name} was passed over")
        if any("\n" in line for line in told) or len(told) > 1:
            wrong.append(f"{path.name} was not reported in a line: {told}")
        if good is True and told:
            wrong.append(f"{path.name} is good, got {told[0]}")
        if good is False and looked:
            wrong.append(f"{path.name} cannot be looked at, but was")
    return wrong


def limit(megabytes: int) -> None:
    """Let the process take so much memory more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (megabytes << 20),) * 2)


def main() -> int:
    """Run; see the module."""
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
    detector(np.zeros((8, 8, 3), np.uint8))  # what a network takes is not a file's fault
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit(args.memory)
    rng, watch, tally = np.random.default_rng(args.seed), Watch(), Counter[str]()
    started, wrong = time.monotonic(), []
    for first in range(0, args.count, PART):
        part = min(PART, args.count - first)
        wrong += run_part(detector, rng, part, watch, tally)
        done = f"{first + part:,} files in {time.monotonic() - started:.0f} s"
        print(f"{done}, {len(wrong)} wrong", file=sys.stderr, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for key, value in sorted(tally.items()):
        print(f"{value:6,} {key}")
    print(f"{watch.slowest[0]:6.1f} s the slowest, {watch.slowest[1]}")
    print(f"{(peak - before) >> 10:6,} MB more than before, of {args.memory:,} allowed")
    print(f"{len(wrong):6,} wrong", *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
