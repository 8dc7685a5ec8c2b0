"""``nasfpn eval``: COCO's figures of a checkpoint or exported file."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.options import ENGINES

HELP = "score a checkpoint or exported file on a split of a data set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="FILE", help=".ckpt, .mindir or .onnx")
    add("--data", type=Path, required=True, metavar="DIR", help="data set")
    add("--split", default="val", help="train, val, test, ... (default: val)")
    add(
        "--protocol",
        default="coco",
        choices=("coco", "modelzoo"),
        help="coco: all pictures, the recipe's thresholds; modelzoo: without pictures that have "
        "no boxes or a crowd, score 0.1, IoU 0.6, 100 a class, as its published AP (default: "
        "coco)",
    )
    add("--stacks", type=int, metavar="N", help="cut the pyramid after N stacks (default: all)")
    add("--engine", choices=ENGINES, help="runs the file (default: mindspore or onnxruntime)")
    add("--device", default="CPU", help="CPU or Ascend (default: CPU)")


def run(args: argparse.Namespace) -> int:
    """Print COCO's table and the AP of each category."""
    from nasfpn_runtime.cluster.device import set_device
    from nasfpn_runtime.scoring.coco_eval import summary
    from nasfpn_runtime.scoring.evaluate import score_checkpoint

    set_device(args.device)
    metrics = score_checkpoint(
        args.checkpoint,
        args.data,
        args.split,
        protocol=args.protocol,
        stacks=args.stacks,
        engine=args.engine,
    )
    print(summary(metrics))
    for key, value in metrics.items():
        if key.startswith("AP/"):
            print(f"{key[3:]:24} AP {value:.3f}")
    return 0
