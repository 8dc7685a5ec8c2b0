"""``nasfpn bench``: every figure that we quote about speed."""

from __future__ import annotations

import argparse

HELP = "measure what the documentation says about speed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("what", choices=["step"], help="step: one training step at 128 and 256 px")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind (default: 3)")


def run(args: argparse.Namespace) -> int:
    """Print medians of both variants, run in turn, and their ratio."""
    import os
    import platform
    from statistics import median

    from nasfpn_runtime.bench import SIZES, compare
    from tools.errors import UserError

    if args.rounds < 1:
        raise UserError(f"--rounds is 1 or more, got {args.rounds}")
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, batch 8, ms per step")
    print(f"{'px':>4} {'project':>9} {'documented':>11} {'ratio':>6}")
    for side in SIZES:
        times = compare(side, args.rounds)
        ours, theirs = median(times["project"]), median(times["documented"])
        print(f"{side:4d} {ours:9.0f} {theirs:11.0f} {ours / theirs:6.2f}", flush=True)
    return 0
