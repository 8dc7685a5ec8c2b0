"""``nasfpn bench controllers``: a race of the controllers on synthetic rewards."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tools.errors import UsageError
from tools.options import add_option, add_out, add_overwrite, add_space, real, whole

if TYPE_CHECKING:
    import numpy as np

    from controllers.race import Curve, Job
    from search_space import SearchSpace

BASELINE = "random"
AFTER = (20, 50, 100, 200, 300)  # trials that have a column of the table
NOISES = (0.0, 0.03, 0.06)  # the second is about that of one training
SIZES = (100, 1000, 10_000)  # trials in the studies whose next proposal is timed
FORMATS = (".png", ".svg", ".pdf")

Chosen: TypeAlias = tuple[str, tuple[tuple[str, float], ...]]  # a controller and its settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the race."""
    options = parser.add_argument_group("options of controllers")
    help = (
        "controllers to compare, with settings as in evolution:population=30,tournament=8; random "
        "is always among them"
    )
    add_option(
        options, "--controllers", nargs="+", metavar="NAME[:KEY=VALUE,...]", unset="all", help=help
    )
    add_space(options)
    help = "genomes that each search tries"
    add_option(options, "--trials", type=whole(1, 10_000), default=300, metavar="N", help=help)
    help = "searches of each controller on each reward; each has a function of its own"
    add_option(options, "--seeds", type=whole(3, 1000), default=20, metavar="N", help=help)
    help = "standard deviations of the noise in what controllers see; 0.03 is that of one training"
    add_option(
        options,
        "--noise",
        nargs="+",
        type=real(0, 1),
        default=list(NOISES),
        metavar="SD",
        help=help,
    )
    help = "numbers of finished trials with which a proposal is timed; 0 times none"
    add_option(
        options,
        "--sizes",
        nargs="+",
        type=whole(0, 100_000),
        default=list(SIZES),
        metavar="N",
        help=help,
    )
    help = "processes that search at the same time"
    add_option(
        options, "--processes", type=whole(1, 256), metavar="N", unset="one a core", help=help
    )
    help = "write all curves and times to this file"
    add_option(options, "--json", type=Path, metavar="FILE", unset="none", help=help)
    add_out(
        options,
        "FILE",
        "picture of the curves: PNG, SVG or PDF",
        type=Path,
        default=None,
        unset="none",
    )
    add_overwrite(options)


def run(args: argparse.Namespace) -> None:
    """Run the race, print its tables, and write what was asked for.

    Raises:
        UserError: there is no such controller, or a file cannot be written.
    """
    if args.out is not None and args.out.suffix.lower() not in FORMATS:
        raise UsageError(f"-o must be a .png, .svg or .pdf file, got {args.out}")

    import optuna

    from controllers.race import Job, run_all
    from controllers.registry import names
    from controllers.rewards import REWARDS
    from nasfpn_runtime.outputs import check_output
    from nasfpn_runtime.progress import Progress
    from search_space.spaces import create_space, size_text

    for path in (args.json, args.out):
        if path is not None:
            check_output(path, overwrite=args.overwrite)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    chosen = {text: _chosen(text) for text in (BASELINE, *(args.controllers or names()))}
    space = create_space(args.space)
    print(f"space {space.kind} of {size_text(space)}")
    jobs = [
        Job(name, reward, noise, seed, args.trials, space, settings)
        # By seed, so that functions are made once and the slow controllers are spread.
        for seed in range(args.seeds)
        for name, settings in chosen.values()
        for reward in REWARDS
        for noise in dict.fromkeys(args.noise)
    ]
    curves: dict[Job, Curve] = {}
    processes = min(args.processes or len(os.sched_getaffinity(0)), len(jobs))
    print(f"{len(jobs):,} searches of {args.trials} genomes in {processes} processes", flush=True)
    with Progress("bench controllers", "search", len(jobs)) as progress, _one_thread_each():
        for job, curve in run_all(jobs, processes):
            curves[job] = curve
            progress.advance()
    groups = _grouped(curves, chosen)
    columns = [after for after in AFTER if after < args.trials] + [args.trials]
    for title, lines in groups.items():
        _print_table(title, lines, columns, args.seeds)
    _print_budget(curves, chosen)
    times = _time(chosen, [size for size in dict.fromkeys(args.sizes) if size], space)
    _write(args, groups, times)


def _chosen(text: str) -> Chosen:
    """Return name and settings of a controller given as ``NAME:KEY=VALUE,KEY=VALUE``."""
    from controllers.registry import check_controller, create_sampler
    from controllers.settings import parse_settings
    from search_space import NASFPNSpace

    name, colon, assignments = text.partition(":")
    settings = parse_settings(assignments.split(",") if colon else [])
    create_sampler(name, NASFPNSpace(), 0, settings)  # checks the ranges, too
    return name, tuple(check_controller(name, settings).items())


def _grouped(
    curves: dict[Job, Curve], controllers: Mapping[str, Chosen]
) -> dict[str, dict[str, dict[str, np.ndarray[Any, Any]]]]:
    """Return picked and best values, shape (seeds, trials), by reward and noise, and by name."""
    import numpy as np

    ordered = sorted(curves, key=lambda job: job.seed)
    groups: dict[str, dict[str, dict[str, np.ndarray[Any, Any]]]] = {}
    for reward, noise in sorted({(job.reward, job.noise) for job in curves}):
        group = groups[f"{reward} reward, noise {noise:g}"] = {}
        for text, chosen in controllers.items():
            of = [
                curves[job]
                for job in ordered
                if (job.reward, job.noise) == (reward, noise)
                and (job.controller, job.settings) == chosen
            ]
            group[text] = {
                "picked": np.stack([curve.picked for curve in of]),
                "best": np.stack([curve.best for curve in of]),
            }
    return groups


def _print_table(
    title: str,
    lines: dict[str, dict[str, np.ndarray[Any, Any]]],
    columns: Sequence[int],
    seeds: int,
) -> None:
    from controllers.race import interval

    print(f"\n{title}: true value of the genome with the best value seen, mean of {seeds} seeds,")
    print(f"and its difference from {BASELINE} with a 95% interval, after so many trials")
    width = max(map(len, ("controller  ", *lines)))
    print(f"{'controller':{width}}" + "".join(f" {after:>20}" for after in columns))
    for name, line in lines.items():
        cells = []
        for after in columns:
            picked = line["picked"][:, after - 1]
            cell = f"{picked.mean():.3f}"
            if name != BASELINE:
                difference = picked - lines[BASELINE]["picked"][:, after - 1]
                cell += f" {difference.mean():+.3f} +- {interval(difference):.3f}"
            cells.append(f" {cell:>20}")
        print(f"{name:{width}}" + "".join(cells), flush=True)


def _print_budget(curves: dict[Job, Curve], controllers: Mapping[str, Chosen]) -> None:
    """Print the CPU time of the searches, which says how long they take on idle cores."""
    total = sum(curve.seconds for curve in curves.values())
    print(
        f"\nCPU seconds of a search (all searches: {total:.0f}, on two idle cores {total / 2:.0f})"
    )
    for text, chosen in controllers.items():
        of = [c.seconds for job, c in curves.items() if (job.controller, job.settings) == chosen]
        print(f"{text:{max(map(len, controllers))}} {sum(of) / len(of):6.2f}")


def _time(
    controllers: Mapping[str, Chosen], sizes: Sequence[int], space: SearchSpace
) -> dict[str, dict[int, float]]:
    """Print and return the CPU seconds of a proposal, by controller and number of trials."""
    from controllers.race import Timing, in_processes, seconds_per_proposal

    if not sizes:
        return {}
    print("\nCPU seconds per proposal with so many finished trials: next one (first of a process)")
    width = max(map(len, ("controller  ", *controllers)))
    print(f"{'controller':{width}}" + "".join(f" {size:>20,}" for size in sizes))
    times: dict[str, dict[int, float]] = {}
    for text, (name, settings) in controllers.items():
        timings = [Timing(name, size, space, settings) for size in sizes]
        with _one_thread_each():
            found = dict(in_processes(seconds_per_proposal, timings, 1))
        times[text] = {timing.trials: found[timing][1] for timing in timings}
        cells = [f"{found[timing][1]:.3f} ({found[timing][0]:.2f})" for timing in timings]
        print(f"{text:{width}}" + "".join(f" {cell:>20}" for cell in cells), flush=True)
    return times


def _write(
    args: argparse.Namespace,
    groups: dict[str, dict[str, dict[str, np.ndarray[Any, Any]]]],
    times: dict[str, dict[int, float]],
) -> None:
    import json

    import numpy as np

    from controllers.figures import draw_race
    from controllers.race import interval
    from nasfpn_runtime.outputs import output_file

    if args.json is not None:
        content = {
            "space": args.space,
            "trials": args.trials,
            "seeds": args.seeds,
            "values": {
                title: {
                    name: {kind: np.round(values, 6).tolist() for kind, values in line.items()}
                    for name, line in lines.items()
                }
                for title, lines in groups.items()
            },
            "seconds per proposal": times,
        }
        with output_file(args.json, overwrite=args.overwrite) as draft:
            draft.write_text(json.dumps(content), encoding="utf-8")
        print(args.json)
    if args.out is not None:
        drawn = {
            title: {
                name: (
                    line["picked"].mean(0).tolist(),
                    [interval(values) for values in line["picked"].T],
                )
                for name, line in lines.items()
            }
            for title, lines in groups.items()
        }
        with output_file(args.out, overwrite=args.overwrite) as draft:
            draw_race(drawn, draft)
        print(args.out)


def _one_thread_each() -> AbstractContextManager[None]:
    """Let processes that start now use one thread: their matrices are small, and cores few."""
    from nasfpn_runtime.processes import environment

    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return environment({name: os.environ.get(name) or "1" for name in names})
