"""``nasfpn bench``: measure the figures that the documentation gives."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from tools import bench_controllers, bench_workers
from tools.errors import UsageError
from tools.options import add_option, add_recipe, whole

HELP = "Measure speed, and differences of exported files"
DESCRIPTION = """Measure the figures that the documentation gives:
  step         time of a training step, and of the same network trained as
               MindSpore's documentation shows
  compile      seconds to the first step of training and of evaluation, compiled
               and loaded from the cache (see NASFPN_CACHE)
  data         images per second that are prepared for training
  threads      images per second of a detector that several threads call, by
               engine, as the engine is and with a lock around its runs
  workers      trainings an hour with one worker and with one for each core
  genome       time of operations on genomes
  parity       largest differences of exported files from their checkpoint
  controllers  what each controller finds on synthetic rewards, which take no
               training, and the time of its proposals"""
EXAMPLES = (
    "nasfpn bench genome",
    "nasfpn bench step --rounds 1",
    "nasfpn bench parity --recipe shapes",
    "nasfpn bench controllers -o race.svg",
    "nasfpn bench controllers --controllers tpe evolution --trials 100 --seeds 5 --noise 0 0.06",
)
GENOMES = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    choices = ["step", "compile", "data", "threads", "workers", "genome", "parity", "controllers"]
    parser.add_argument("what", choices=choices, help="what to measure, see above")
    help = (
        "step, compile, data: number of processes of each kind, run in turn; threads, workers: "
        "repetitions"
    )
    add_option(parser, "--rounds", type=whole(1, 1000), default=3, metavar="N", help=help)
    help = "data, workers: COCO folder"
    add_option(parser, "--data", type=Path, metavar="DIR", unset="generated images", help=help)
    add_option(
        parser,
        "--modelzoo",
        type=Path,
        metavar="DIR",
        unset="measure this project only",
        help="data: checkout of the model zoo's research/cv/nas-fpn to compare with; needs OpenCV",
    )
    add_recipe(parser, of="the networks of parity and threads", default="bccd-256")
    bench_controllers.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print medians, after a line about the machine."""
    import os
    import platform

    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    print(machine if args.what == "controllers" else f"{machine}, medians", flush=True)
    if args.what == "step":
        _step(args.rounds)
    elif args.what == "compile":
        _compile(args.rounds)
    elif args.what == "data":
        _data(args)
    elif args.what == "threads":
        _threads(args.recipe, args.rounds)
    elif args.what == "workers":
        bench_workers.run(args)
    elif args.what == "parity":
        _parity(args.recipe)
    elif args.what == "controllers":
        bench_controllers.run(args)
    else:
        _genome()
    return 0


def _step(rounds: int) -> None:
    """Print the times of both variants, run in turn, and their ratio."""
    from statistics import median

    from nasfpn_runtime.bench.step import SIZES, compare
    from nasfpn_runtime.progress import waiting

    print("ms per training step of batch 8")
    print(f"{'px':>4} {'project':>9} {'documented':>11} {'ratio':>6}", flush=True)
    for side in SIZES:
        with waiting(f"bench step: {side} px, 2 x {rounds} processes"):
            times = compare(side, rounds)
        ours, theirs = median(times["project"]), median(times["documented"])
        print(f"{side:4d} {ours:9.0f} {theirs:11.0f} {ours / theirs:6.2f}", flush=True)


def _compile(rounds: int) -> None:
    """Print the times of both ways, run in turn, and the median of the ratios of each round."""
    from statistics import median

    from nasfpn_runtime.bench.compile import PARTS, RECIPE, WAYS, compare
    from nasfpn_runtime.progress import waiting

    print(f"seconds to the first step, published genome, {RECIPE}")
    print(f"{'':10} {'compiled':>9} {'loaded':>9} {'ratio':>6}", flush=True)
    with waiting(f"bench compile: 1 + 2 x {rounds} processes"):
        times = compare(rounds)
    for part in PARTS:
        compiled, loaded = (times[part, way] for way in WAYS)
        ratio = median(a / b for a, b in zip(compiled, loaded, strict=True))
        print(f"{part:10} {median(compiled):9.2f} {median(loaded):9.2f} {ratio:6.1f}", flush=True)


def _data(args: argparse.Namespace) -> None:
    """Print the speeds of the pipelines, run in turn, and their ratio."""
    from statistics import median

    from nasfpn_runtime.bench.data import BATCH, RECIPE, compare, described, drawn
    from nasfpn_runtime.progress import say, waiting

    if args.modelzoo is not None and not (args.modelzoo / "src" / "dataset.py").is_file():
        raise UsageError(f"--modelzoo must be a folder with src/dataset.py, got {args.modelzoo}")
    say(f"bench data: {args.data or 'generated images'}")
    with drawn(args.data) as data:
        print(f"images/s of {RECIPE}, batch {BATCH}: {described(data)}", flush=True)
        with waiting(f"bench data: {args.rounds} processes of each pipeline"):
            speeds = compare(data, args.modelzoo, args.rounds)
    for name, measured in speeds.items():
        runs = " ".join(f"{speed:.0f}" for speed in measured)
        print(f"{name:9} {median(measured):6.0f}   ({runs})")
    if len(speeds) > 1:
        print(f"ratio     {median(speeds['project']) / median(speeds['modelzoo']):6.2f}")


def _threads(recipe: str, rounds: int) -> None:
    """Print a row for each engine and number of threads."""
    import tempfile

    from nasfpn_runtime.progress import say

    say(f"bench threads: exporting a network of {recipe}, and {rounds} rounds in each engine")

    from nasfpn_runtime.bench.threads import time_threads
    from nasfpn_runtime.cluster.device import set_device
    from nasfpn_runtime.recipe.recipe import load_recipe

    set_device("CPU")
    print(f"images/s of {recipe}, random weights")
    print(
        f"{'file':7} {'engine':12} {'threads':>7} {'own':>7} {'lock':>7} {'ratio':>6}", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        for row in time_threads(Path(folder), load_recipe(recipe), rounds):
            print(
                f"{row.format:7} {row.engine:12} {row.threads:7d} {row.own:7.1f} "
                f"{row.locked:7.1f} {row.own / row.locked:6.2f}",
                flush=True,
            )


def _parity(recipe: str) -> None:
    """Print a row for each exported file and engine; nothing is timed."""
    import tempfile

    from nasfpn_runtime.progress import say

    say(f"bench parity: exporting and comparing networks of {recipe}")

    from nasfpn_runtime.bench.parity import parity
    from nasfpn_runtime.cluster.device import set_device
    from nasfpn_runtime.recipe.recipe import load_recipe

    set_device("CPU")
    print(f"largest differences from the checkpoint, {recipe}, random weights")
    print(f"{'genome':8} {'input':>9} {'file':12} {'engine':12} {'boxes px':>9} {'scores':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for row in parity(Path(folder), load_recipe(recipe)):
            size, difference = f"{row.size[0]}x{row.size[1]}", row.difference
            print(
                f"{row.genome:8} {size:>9} {row.format:6} {row.precision} {row.engine:12} "
                f"{difference.boxes:9.1e} {difference.scores:9.1e}",
                flush=True,
            )


def _genome() -> None:
    """Print the median time of operations on random genomes of the published space."""
    import io
    import time
    from statistics import median

    from nasfpn_runtime.progress import say

    say(f"bench genome: {GENOMES} random genomes")

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
