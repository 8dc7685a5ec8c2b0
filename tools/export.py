"""``nasfpn export``: write a checkpoint as a file for other runtimes."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tools.options import (
    add_device,
    add_flag,
    add_option,
    add_out,
    add_overwrite,
    add_stacks,
    shown_path,
    whole,
)

if TYPE_CHECKING:
    from nasfpn_runtime.export.exporter import ExportReport
    from nasfpn_runtime.pictures.image import Pixels

HELP = "Write a checkpoint as ONNX, MINDIR or AIR"
DESCRIPTION = """\
Write a checkpoint as ONNX, MINDIR or AIR. The file contains box decoding, class
names, preprocessing and thresholds. It is run and compared with the checkpoint
before it appears at its place."""
EXAMPLES = (
    "nasfpn export runs/nasfpn-shapes/checkpoints/best.ckpt --format onnx -o shapes.onnx",
    "nasfpn export runs/nasfpn-shapes/checkpoints/best.ckpt --format onnx --with-nms --dynamic",
    "nasfpn export runs/nasfpn-shapes/checkpoints/best.ckpt --format mindir --precision fp16",
)
FORMATS = ("mindir", "onnx", "air")
IMAGES = 4  # that the file is compared on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    help = "checkpoint written by `nasfpn train` or `nasfpn import`"
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help=help)
    help = "format of the file; air needs --device Ascend"
    parser.add_argument("--format", dest="form", required=True, choices=FORMATS, help=help)
    unset = "beside the checkpoint, under its name"
    add_out(parser, "FILE", "file to write", type=Path, unset=unset)
    add_overwrite(parser)
    help = "include non-maximum suppression, so that the file returns detections; ONNX only"
    add_flag(parser, "--with-nms", help)
    help = "precision of weights and convolutions"
    add_option(parser, "--precision", default="fp32", choices=("fp32", "fp16"), help=help)
    help = "accept any number of images, in ONNX also any height and width, instead of one image "
    add_flag(parser, "--dynamic", help + "of one size")
    add_option(
        parser,
        "--size",
        type=whole(1, 16_384),
        nargs=2,
        metavar=("H", "W"),
        unset="the recipe's",
        help="height and width of the input, rounded up to multiples of the coarsest stride",
    )
    add_stacks(parser)
    add_option(
        parser,
        "--data",
        type=Path,
        metavar="DIR",
        unset="generated images",
        help=f"dataset folder: compare on the first {IMAGES} images of its val split",
    )
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Export, then print sizes, cost and differences."""
    out = args.out or args.checkpoint.with_suffix(f".{args.form}")
    if out.suffix != f".{args.form}":
        raise UsageError(f"--out must end in .{args.form} for --format {args.form}, got {out}")
    if args.with_nms and args.form != "onnx":
        raise UsageError(f"--with-nms needs --format onnx, got {args.form}")

    from nasfpn_runtime.outputs import Inputs, check_output, output_file
    from nasfpn_runtime.progress import say, waiting

    inputs = Inputs(args.checkpoint, folder=args.data)
    check_output(out, overwrite=args.overwrite, inputs=inputs)
    say(f"export: {args.checkpoint} to {out}, {args.precision}, {args.device}")

    from nasfpn_runtime.cluster.device import set_device
    from nasfpn_runtime.export.exporter import ExportRequest, export

    set_device(args.device)
    request = ExportRequest(
        args.form,
        args.precision,
        args.with_nms,
        args.dynamic,
        tuple(args.size) if args.size else None,
        args.stacks,
    )
    images = _images(args.data)
    with (
        output_file(out, overwrite=args.overwrite, inputs=inputs) as draft,
        waiting("writing the file and comparing it with the checkpoint"),
    ):
        report = export(args.checkpoint, draft, request, images)
    _print(replace(report, path=out), len(images))
    return 0


def _images(data: Path | None) -> list[Pixels]:
    import numpy as np

    if data is None:
        from nasfpn_runtime.data.drawn import draw_picture

        rng = np.random.default_rng(0)
        return [draw_picture(side, rng)[0] for side in range(160, 160 + 40 * IMAGES, 40)]
    from nasfpn_runtime.data.dataset import load_split

    return [sample.read() for sample in load_split(data, "val").samples[:IMAGES]]


def _print(report: ExportReport, images: int) -> None:
    from nasfpn_runtime.export.compare import allowed

    about, cost, difference = report.description, report.cost, report.difference
    height, width = about.size
    batch = about.batch or "any number of"
    sides = f"{height}x{width}" if about.fixed else f"sides in multiples of {about.stride}"
    print(f"file        {shown_path(report.path)}, {report.bytes:,} bytes, {about.precision}")
    print(f"input       {batch} x 3 x {sides}")
    print(f"cost        {cost.parameters:,} parameters, {cost.macs:,} MACs at {height}x{width}")
    if difference is None:
        print("difference  not compared: only Ascend's own tools can run AIR")
        return
    limits = allowed(about)
    print(
        f"difference  boxes {difference.boxes:.2g} px (limit {limits.boxes:.2g}), scores "
        f"{difference.scores:.2g} (limit {limits.scores}) from the checkpoint on {images} images"
    )
    if about.suppressed:
        print("            detections equal those of the project's own suppression")
