"""``nasfpn predict``: detect objects in images and videos."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.errors import UsageError
from tools.options import (
    add_device,
    add_engine,
    add_flag,
    add_option,
    add_out,
    add_overwrite,
    real,
    whole,
)

if TYPE_CHECKING:
    from nasfpn_runtime.inference.detector import Detector
    from nasfpn_runtime.predict.loop import Tally
    from nasfpn_runtime.predict.results import Sink

HELP = "Detect objects in images and videos, draw them, write results"
DESCRIPTION = """\
Detect objects in images and videos. Writes copies of the images with boxes, and
COCO results with --json. A file that is missing or cannot be read is reported
and skipped; the exit code is then 1.

With --data instead of INPUT, detect in a split of a dataset, which needs no
boxes. The results have the image and category ids of the dataset and all
detections that `nasfpn eval` scores, for pycocotools or a test server."""
EXAMPLES = (
    "nasfpn predict runs/nasfpn-shapes/checkpoints/best.ckpt shapes/test2017 -o found",
    "nasfpn predict shapes.onnx 'shapes/*/000001.png' --score 0.5 --json found.json -o found-onnx",
    "nasfpn predict shapes.onnx shapes/val2017 --no-pictures --json -",
    "nasfpn predict shapes.onnx --data shapes --split test --json results.json",
)
OUT = Path("predictions")
SPLIT = "test"
SCORE = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    help = "checkpoint or exported file: .ckpt, .mindir or .onnx"
    parser.add_argument("model", type=Path, metavar="MODEL", help=help)
    inputs = parser.add_argument(
        "inputs",
        nargs="+",
        default=[],
        metavar="INPUT",
        help="image, video, folder, pattern such as 'a/**/*.jpg', or - to read file names from "
        "standard input, one on each line",
    )
    inputs.required = False  # for argparse; with "*" it would miss inputs after options
    help = "dataset folder to detect in, instead of INPUT: COCO, VOC, YOLO, text or MindRecord"
    add_option(parser, "--data", type=Path, metavar="DIR", unset="none", help=help)
    help = "with --data: split to detect in: train, val, test, ..."
    add_option(parser, "--split", unset=SPLIT, help=help)
    help, unset = "new or empty folder for the images with boxes", f"{OUT}; with --data no images"
    add_out(parser, "DIR", help, type=Path, unset=unset)
    add_flag(parser, "--no-pictures", help="write no images")
    help = "file for COCO results; - for standard output"
    add_option(parser, "--json", metavar="FILE", unset="none", help=help)
    add_overwrite(parser)
    help, unset = "keep detections that score above this", f"{SCORE}; with --data the model's"
    add_option(parser, "--score", type=real(0, 1), unset=unset, help=help)
    help = "number of images in a batch"
    add_option(parser, "--batch", type=whole(1, 1024), default=8, metavar="N", help=help)
    add_engine(parser)
    add_device(parser, "; for --engine mindspore only")


def run(args: argparse.Namespace) -> int:
    """Detect in every input; return 1 if some could not be read."""
    if bool(args.inputs) == (args.data is not None):
        raise UsageError("predict needs either INPUT or --data DIR")
    if args.data is not None:
        return _predict_data(args)
    if args.split is not None:
        raise UsageError(f"--split needs --data, got --split {args.split} without it")
    args.out = args.out or OUT
    return _predict_files(args)


def _predict_data(args: argparse.Namespace) -> int:
    """Detect in a split of a dataset; return 1 if some images could not be read."""
    from nasfpn_runtime.progress import say, waiting

    split_name = args.split or SPLIT
    say(f"predict: {args.model} on {args.data}, split {split_name}")

    from nasfpn_runtime.data.dataset import load_split
    from nasfpn_runtime.outputs import Inputs, check_text, output_text
    from nasfpn_runtime.predict.dataset import predict_split
    from nasfpn_runtime.predict.loop import PredictOptions
    from nasfpn_runtime.predict.results import PictureFolder, SplitResults

    draws = args.out is not None and not args.no_pictures
    if not draws and args.json is None:
        raise UsageError("predict with --data needs --json FILE or --out DIR")
    inputs = Inputs(args.model, folder=args.data)
    rule: dict[str, Any] = {"overwrite": args.overwrite, "inputs": inputs}
    if args.json is not None:
        check_text(args.json, **rule)
    detector = _load(args)
    reading = detector.description.data.reading
    with waiting(f"reading {args.data}"):
        split = load_split(args.data, split_name, reading=reading, needs_boxes=False)
    for sample in split.samples:  # the images of some formats may be outside the folder
        if isinstance(sample.path, Path):
            inputs.add(sample.path)
    sinks: list[Sink] = [PictureFolder(args.out, **rule)] if draws else []
    if draws and args.json is not None:
        _check_apart(args)
    _check_batch(args, detector)
    with ExitStack() as stack:
        if args.json is not None:
            stream = stack.enter_context(output_text(args.json, **rule))
            results = SplitResults(stream, split.category_ids)
            sinks.append(results)
        tally = predict_split(detector, split, sinks, PredictOptions(args.score, args.batch), say)
        if args.json is not None:
            results.close()
    say(summary(tally))
    return 1 if tally.skipped else 0


def _predict_files(args: argparse.Namespace) -> int:
    """Detect in images and videos; return 1 if some could not be read."""
    from nasfpn_runtime.progress import say

    given = args.inputs[0] if len(args.inputs) == 1 else f"{len(args.inputs)} inputs"
    say(f"predict: {args.model} on {given}")

    from nasfpn_runtime.outputs import Inputs, check_text, output_text
    from nasfpn_runtime.predict.inputs import STDIN, InputFile, list_files, listed_files
    from nasfpn_runtime.predict.loop import PredictOptions, predict
    from nasfpn_runtime.predict.results import CocoResults, PictureFolder
    from search_space.names import printable

    options = PredictOptions(SCORE if args.score is None else args.score, args.batch)
    if STDIN in args.inputs and len(args.inputs) > 1:
        raise UsageError(f"- must be the only INPUT, got {' '.join(args.inputs)}")
    missing: list[str] = []
    files = None if args.inputs == [STDIN] else list_files(args.inputs, missing.append)
    inputs = Inputs(args.model, *(file.path for file in files or ()))
    rule: dict[str, Any] = {"overwrite": args.overwrite, "inputs": inputs}
    sinks: list[Sink] = [] if args.no_pictures else [PictureFolder(args.out, **rule)]
    if args.json is not None:
        check_text(args.json, **rule)
        _check_apart(args)
    for fault in missing:
        say(printable(f"skipped: {fault}"))
    detector = _load(args)
    _check_batch(args, detector)

    def read_names() -> Iterator[InputFile]:
        for file in listed_files(sys.stdin.buffer):
            inputs.add(file.path)
            yield file

    with ExitStack() as stack:
        if args.json is not None:
            stream = stack.enter_context(output_text(args.json, **rule))
            results = CocoResults(stream, detector.names)
            sinks.append(results)
        sources = read_names() if files is None else files
        total = None if files is None else len(files)
        tally = predict(detector, sources, sinks, options, say, total=total)
        tally.skipped += len(missing)
        if args.json is not None:
            results.close()
    say(summary(tally), whole=True)
    return 1 if tally.skipped else 0


def _check_batch(args: argparse.Namespace, detector: Detector) -> None:
    from nasfpn_runtime.recipe.memory import PIXEL, check_memory

    height, width = detector.description.size
    what = f"batches of {args.batch:,} images of {height:,}x{width:,} px"
    check_memory(PIXEL * args.batch * height * width, what, "lower --batch")


def _check_apart(args: argparse.Namespace) -> None:
    """Refuse a file of results in the place of the images with boxes, of one or of their folder."""
    if args.no_pictures:
        return
    path, folder = Path(args.json), args.out.resolve()
    if folder.is_relative_to(path.resolve()):
        raise UsageError(f"--json must not be a folder of --out {args.out}, got {path}")
    names = [path, *path.parents]  # an image must not take the place of a folder, either
    if any(name.suffix.lower() in (".jpg", ".png") for name in names if _is_in(name, folder)):
        raise UsageError(f"--json must not be an image in --out {args.out}, got {path}")


def _is_in(path: Path, folder: Path) -> bool:
    return path.resolve() != folder and path.resolve().is_relative_to(folder)


def summary(tally: Tally) -> str:
    """Return a line with the counts of a run."""
    from search_space.names import shown

    parts = [f"{tally.frames:,} frames", f"{tally.boxes.total():,} boxes"]
    parts += [f"{count:,} {shown(name)}" for name, count in tally.boxes.most_common()]
    return ", ".join([*parts, f"{tally.skipped:,} files skipped"])


def _load(args: argparse.Namespace) -> Detector:
    from nasfpn_runtime.cluster.device import set_device
    from nasfpn_runtime.inference.detector import Detector
    from nasfpn_runtime.inference.engines.registry import engine_of

    engine = engine_of(args.model, args.engine)
    if engine == "mindspore":
        set_device(args.device)
    elif args.device != "CPU":
        raise UsageError(f"--device must be CPU for the engine {engine}, got {args.device}")
    return Detector.load(args.model, args.engine, progress=True)
