"""``nasfpn export``: a checkpoint as a file for other runtimes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError

if TYPE_CHECKING:
    from nasfpn_runtime.export.exporter import Report
    from nasfpn_runtime.pictures.image import Pixels

HELP = "write a checkpoint for other runtimes, and compare what was written"
FORMS = ("mindir", "onnx", "air")
PICTURES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CKPT", help="written by `nasfpn train` or `import`")
    add("--format", dest="form", required=True, choices=FORMS, help="of the file")
    add("-o", "--out", type=Path, metavar="FILE", help="(default: beside the checkpoint)")
    add("--with-nms", action="store_true", help="ONNX: the file gives detections, not all boxes")
    add("--precision", default="fp32", choices=("fp32", "fp16"), help="(default: fp32)")
    add(
        "--dynamic",
        action="store_true",
        help="any number of pictures, in ONNX also of any sides (default: one, of one size)",
    )
    add(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="of the input, rounded up to the coarsest stride (default: the recipe's)",
    )
    add("--stacks", type=int, metavar="N", help="cut the pyramid after N stacks (default: all)")
    add("--data", type=Path, metavar="DIR", help="compare on its pictures (default: drawn ones)")
    add("--device", default="CPU", help="CPU or Ascend (default: CPU)")


def run(args: argparse.Namespace) -> int:
    """Export, then print sizes, cost and differences."""
    out = args.out or args.checkpoint.with_suffix(f".{args.form}")
    if out.suffix != f".{args.form}":
        raise UsageError(f"--format {args.form} writes a .{args.form} file, got {out}")
    if args.size and min(args.size) < 1:
        raise UsageError(f"--size is two sides above 0, got {args.size[0]} {args.size[1]}")

    from nasfpn_runtime.cluster.device import set_device
    from nasfpn_runtime.export.exporter import Request, export

    set_device(args.device)
    wanted = Request(
        args.form,
        args.precision,
        args.with_nms,
        args.dynamic,
        tuple(args.size) if args.size else None,
        args.stacks,
    )
    pictures = _pictures(args.data)
    _print(export(args.checkpoint, out, wanted, pictures), len(pictures))
    return 0


def _pictures(data: Path | None) -> list[Pixels]:
    import numpy as np

    if data is None:
        from nasfpn_runtime.data.drawn import draw_picture

        rng = np.random.default_rng(0)
        return [draw_picture(side, rng)[0] for side in range(160, 160 + 40 * PICTURES, 40)]
    from nasfpn_runtime.data.dataset import load_split
    from nasfpn_runtime.data.mindrecord import source
    from nasfpn_runtime.pictures.image import read_image

    samples = load_split(data, "val").samples[:PICTURES]
    return [read_image(source(sample.path)) for sample in samples]


def _print(report: Report, pictures: int) -> None:
    from nasfpn_runtime.export.compare import allowed

    about, cost, found = report.description, report.cost, report.difference
    height, width = about.size
    batch = about.batch or "any number of"
    sides = f"{height}x{width}" if about.fixed else f"sides in multiples of {about.stride}"
    print(f"file        {report.path}, {report.bytes:,} bytes, {about.precision}")
    print(f"input       {batch} x 3 x {sides}")
    print(f"cost        {cost.parameters:,} parameters, {cost.macs:,} MACs at {height}x{width}")
    if found is None:
        print("difference  not compared: AIR runs in Ascend's own tools only")
        return
    limits = allowed(about)
    print(
        f"difference  boxes {found.boxes:.2g} px (at most {limits.boxes:.2g}), scores "
        f"{found.scores:.2g} (at most {limits.scores}) from the checkpoint's, {pictures} pictures"
    )
    if about.suppressed:
        print("            detections as by postprocess.py")
