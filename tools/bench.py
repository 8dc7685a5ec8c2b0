"""``nasfpn bench``: every figure that we quote about speed."""

from __future__ import annotations

import argparse
from collections.abc import Callable

HELP = "measure what the documentation says about speed"
GENOMES = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("what", choices=["step", "genome"], help="a training step; or what is done to a genome")
    add("--rounds", type=int, default=3, help="step: processes of each kind (default: 3)")


def run(args: argparse.Namespace) -> int:
    """Print medians, with the machine they are from."""
    import os
    import platform

    from tools.errors import UserError

    if args.rounds < 1:
        raise UserError(f"--rounds is 1 or more, got {args.rounds}")
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, medians")
    if args.what == "step":
        _step(args.rounds)
    else:
        _genome()
    return 0


def _step(rounds: int) -> None:
    """Print both variants, run in turn, and their ratio."""
    from statistics import median

    from nasfpn_runtime.bench import SIZES, compare

    print("ms per training step of batch 8")
    print(f"{'px':>4} {'project':>9} {'documented':>11} {'ratio':>6}")
    for side in SIZES:
        times = compare(side, rounds)
        ours, theirs = median(times["project"]), median(times["documented"])
        print(f"{side:4d} {ours:9.0f} {theirs:11.0f} {ours / theirs:6.2f}", flush=True)


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
