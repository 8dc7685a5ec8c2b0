"""``nasfpn bench``: every figure that we quote about speed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

HELP = "measure what the documentation says about speed"
GENOMES = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add(
        "what",
        choices=["step", "data", "genome", "parity"],
        help="a training step; preparing its pictures; what is done to a genome; or how far "
        "exported files are from their checkpoint",
    )
    add("--rounds", type=int, default=3, help="step, data: processes of each kind (default: 3)")
    add("--data", type=Path, metavar="DIR", help="data: a COCO folder (default: drawn pictures)")
    add(
        "--modelzoo",
        type=Path,
        metavar="DIR",
        help="data: a checkout of the model zoo's research/cv/nas-fpn, to compare with; needs cv2",
    )
    add("--recipe", default="bccd-256", help="parity: sizes of the network (default: bccd-256)")


def run(args: argparse.Namespace) -> int:
    """Print medians, with the machine they are from."""
    import os
    import platform

    from tools.errors import UsageError

    if args.rounds < 1:
        raise UsageError(f"--rounds is 1 or more, got {args.rounds}")
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, medians")
    if args.what == "step":
        _step(args.rounds)
    elif args.what == "data":
        _data(args)
    elif args.what == "parity":
        _parity(args.recipe)
    else:
        _genome()
    return 0


def _step(rounds: int) -> None:
    """Print both variants, run in turn, and their ratio."""
    from statistics import median

    from nasfpn_runtime.bench.step import SIZES, compare

    print("ms per training step of batch 8")
    print(f"{'px':>4} {'project':>9} {'documented':>11} {'ratio':>6}")
    for side in SIZES:
        times = compare(side, rounds)
        ours, theirs = median(times["project"]), median(times["documented"])
        print(f"{side:4d} {ours:9.0f} {theirs:11.0f} {ours / theirs:6.2f}", flush=True)


def _data(args: argparse.Namespace) -> None:
    """Print the pipelines' speeds, run in turn, and their ratio."""
    from statistics import median

    from nasfpn_runtime.bench.data import BATCH, RECIPE, compare, described, drawn
    from tools.errors import UsageError

    if args.modelzoo is not None and not (args.modelzoo / "src" / "dataset.py").is_file():
        raise UsageError(f"--modelzoo has src/dataset.py, got {args.modelzoo}")
    with drawn(args.data) as data:
        print(f"images/s of {RECIPE}, batch {BATCH}: {described(data)}")
        speeds = compare(data, args.modelzoo, args.rounds)
    for name, found in speeds.items():
        runs = " ".join(f"{speed:.0f}" for speed in found)
        print(f"{name:9} {median(found):6.0f}   ({runs})")
    if len(speeds) > 1:
        print(f"ratio     {median(speeds['project']) / median(speeds['modelzoo']):6.2f}")


def _parity(recipe: str) -> None:
    """Print a row for each exported file and engine; nothing is timed."""
    import tempfile

    from nasfpn_runtime.bench.parity import parity
    from nasfpn_runtime.cluster.device import set_device
    from nasfpn_runtime.recipe.recipe import load_recipe

    set_device("CPU")
    print(f"largest differences from the checkpoint, {recipe}, random weights")
    print(f"{'genome':8} {'input':>9} {'file':12} {'engine':12} {'boxes px':>9} {'scores':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for row in parity(Path(folder), load_recipe(recipe)):
            size, found = f"{row.size[0]}x{row.size[1]}", row.difference
            print(
                f"{row.genome:8} {size:>9} {row.form:6} {row.precision} {row.engine:12} "
                f"{found.boxes:9.1e} {found.scores:9.1e}",
                flush=True,
            )


def _genome() -> None:
    """Print the time of each operation over random genomes of the published space."""
    import io
    import time
    from statistics import median

    import numpy as np

    from search_space import DetectorShape, NASFPNSpace, detector_cost, draw_genome, genome_id
    from search_space.genome import Genome

    space = NASFPNSpace()
    rng = np.random.default_rng(0)
    genomes = [space.sample(rng) for _ in range(GENOMES)]

    def draw(genome: Genome) -> None:
        draw_genome(genome).savefig(io.BytesIO(), format="svg")

    operations: dict[str, tuple[Callable[[Genome], object], int]] = {
        "genome_id": (genome_id, GENOMES),
        "detector_cost": (lambda genome: detector_cost(genome, DetectorShape()), GENOMES),
        "mutate": (lambda genome: space.mutate(genome, rng), GENOMES),
        "draw_genome to SVG": (draw, GENOMES // 10),
    }
    for name, (operation, count) in operations.items():
        times = []
        for genome in genomes[:count]:
            started = time.perf_counter()
            operation(genome)
            times.append(time.perf_counter() - started)
        print(f"{name:20} {median(times) * 1e6:10.0f} us over {count} genomes")
