"""``nasfpn eval``: score a checkpoint or exported file by COCO's metrics."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.options import add_data, add_device, add_engine, add_option, add_stacks

HELP = "Score a checkpoint or an exported file on a dataset"
DESCRIPTION = """\
Score a checkpoint or an exported file on a split of a dataset. Prints COCO's
metrics and the AP of each category."""
EXAMPLES = (
    "nasfpn eval --checkpoint runs/nasfpn-shapes/checkpoints/best.ckpt --data shapes",
    "nasfpn eval --checkpoint runs/nasfpn-shapes/checkpoints/best.ckpt --data shapes --split test",
    "nasfpn eval --checkpoint shapes.onnx --engine openvino --data shapes",
)
PROTOCOLS = ("coco", "modelzoo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    help = "checkpoint or exported file: .ckpt, .mindir or .onnx"
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help=help)
    add_data(parser)
    help = "split to score on: train, val, test, ..."
    add_option(parser, "--split", default="val", help=help)
    add_option(
        parser,
        "--protocol",
        default="coco",
        choices=PROTOCOLS,
        help="coco: all images, the recipe's thresholds; modelzoo: as the model zoo's published "
        "AP, so without images that have no boxes or a crowd region, minimum score 0.1, IoU 0.6, "
        "100 detections of a class",
    )
    add_stacks(parser)
    add_engine(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Print COCO's table and the AP of each category."""
    from nasfpn_runtime.progress import say

    say(f"eval: {args.checkpoint} on {args.data}, split {args.split}, {args.device}")

    from nasfpn_runtime.cluster.device import set_device
    from nasfpn_runtime.scoring.coco_eval import summary
    from nasfpn_runtime.scoring.evaluate import score_checkpoint
    from search_space.names import padded, shown

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
            print(f"{padded(shown(key[3:]), 24)} AP {value:.3f}")
    return 0
