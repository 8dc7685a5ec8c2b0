"""``nasfpn predict``: find things in pictures and videos."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tools.options import ENGINES

if TYPE_CHECKING:
    from nasfpn_runtime.inference.detector import Detector
    from nasfpn_runtime.predict.loop import Tally
    from nasfpn_runtime.predict.results import Sink

HELP = "find things in pictures and videos; draw them and write COCO results"
OUT = Path("predictions")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help=".ckpt, .mindir or .onnx")
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="picture, video, folder, pattern such as 'a/**/*.jpg', or - for a list of files on "
        "standard input, one a line",
    )
    add(
        "-o",
        "--out",
        type=Path,
        default=OUT,
        metavar="DIR",
        help=f"new or empty folder for pictures with boxes (default: {OUT})",
    )
    add("--no-pictures", action="store_true", help="write none")
    add("--json", metavar="FILE", help="write COCO results; - for standard output")
    add("--score", type=float, default=0.3, help="what scores are above (default: 0.3)")
    add("--batch", type=int, default=8, help="pictures looked at together (default: 8)")
    add("--engine", choices=ENGINES, help="(default: mindspore; onnxruntime for .onnx)")
    add("--device", default="CPU", help="of mindspore: CPU or Ascend (default: CPU)")


def run(args: argparse.Namespace) -> int:
    """Look at every input; return 1 if some could not be read."""
    from nasfpn_runtime.predict.inputs import STDIN, list_files, listed_files
    from nasfpn_runtime.predict.loop import Options, predict
    from nasfpn_runtime.predict.results import CocoResults, PictureFolder, results_file

    options = Options(args.score, args.batch)
    if STDIN in args.inputs and len(args.inputs) > 1:
        raise UsageError(f"- is the only input where it is one, got {len(args.inputs)}")
    listed = None if args.inputs == [STDIN] else list_files(args.inputs)
    sinks: list[Sink] = [] if args.no_pictures else [PictureFolder(args.out)]
    detector = _load(args)
    with ExitStack() as files:
        if args.json is not None:
            to_screen = args.json == STDIN
            stream = sys.stdout if to_screen else files.enter_context(results_file(Path(args.json)))
            results = CocoResults(stream, detector.names)
            sinks.append(results)
        sources = listed_files(sys.stdin.buffer) if listed is None else listed
        total = None if listed is None else len(listed)
        tally = predict(detector, sources, sinks, options, _say, total=total)
        if args.json is not None:
            results.close()
    _say(summary(tally))
    return 1 if tally.skipped else 0


def summary(tally: Tally) -> str:
    """Return what a run did, in a line."""
    parts = [f"{tally.frames:,} frames", f"{tally.boxes.total():,} boxes"]
    parts += [f"{count:,} {name}" for name, count in tally.boxes.most_common()]
    return ", ".join([*parts, f"{tally.skipped:,} files skipped"])


def _load(args: argparse.Namespace) -> Detector:
    from nasfpn_runtime.cluster.device import set_device
    from nasfpn_runtime.inference.detector import Detector
    from nasfpn_runtime.inference.engines.registry import engine_of

    if engine_of(args.model, args.engine) == "mindspore":
        set_device(args.device)
    elif args.device != "CPU":
        raise UsageError(f"--device is of the engine mindspore, got {args.device}")
    return Detector.load(args.model, args.engine)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
