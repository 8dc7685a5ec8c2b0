"""A reward that replaces training, and candidates that misbehave.

Tests import this module, and the worker processes that they start import it by name.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from controllers.errors import SearchError
from search_space import Genome, Level, NASFPNSpace, WideSpace, from_json, genome_id

# 259,200 genomes, 14 decisions.
SPACE = NASFPNSpace(
    levels=(Level(3), Level(4), Level(5)), intermediate_cells=1, intermediate_levels=(Level(4),)
)

# 4,829,563,200 genomes, 30 decisions, of which some say nothing in most genomes.
WIDE = WideSpace(levels=(Level(3), Level(4), Level(5)), intermediate_cells=2)


def reward(genome: Genome) -> float:
    """Return the reward of a genome: at most 16 on ``SPACE``, for a structure with interactions.

    It is the sum of one point for each output that is finer than the next output; one for each
    op that follows the pattern attention, sum, attention, ...; one for each cell that uses the
    previous cell, and one more if their ops differ; half a point for each input from an
    adjacent level. Most terms depend on two or three decisions.
    """
    levels, first = genome.node_levels, len(genome.levels)
    order = [cell.level for cell in genome.cells[-first:]]
    points = float(sum(a < b for a, b in pairwise(order)))
    points += sum(
        cell.op == ("attention", "sum")[number % 2] for number, cell in enumerate(genome.cells)
    )
    for number, (before, cell) in enumerate(pairwise(genome.cells), start=first):
        points += (number in cell.inputs) * (1 + (before.op != cell.op))
    return points + 0.5 * sum(
        abs(levels[node] - cell.level) == 1 for cell in genome.cells for node in cell.inputs
    )


def evaluate(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Score the genome by :func:`reward`, after sleeping for ``seconds`` if given.

    ``noise`` is the standard deviation of what is added, drawn for genome and ``seed``; ``add`` is
    added, too. Folders named in ``fail_in`` fail.

    Trial number ``meet_in`` waits until another process has started a trial. Trial number
    ``hang_in`` never ends, nor does rung ``proxy`` of trial 7 if it is ``7/proxy``. Each training
    is a line of the file ``trainings``, with its genome and folder, if given.
    """
    out = Path(arguments.get("out", ""))
    if "trainings" in arguments:
        with open(arguments["trainings"], "a", encoding="utf-8") as file:
            file.write(f"{genome_id(from_json(arguments['genome']))} {out.name}\n")
    if arguments.get("hang_in") in (out.name, f"{out.parent.name}/{out.name}"):
        return _hang(arguments)
    if out.name == arguments.get("meet_in"):
        _meet(out)
    if out.name in arguments.get("fail_in", ()) or out.parent.name in arguments.get("fail_in", ()):
        raise RuntimeError("the loss is not finite")
    time.sleep(arguments.get("seconds", 0))
    value, noise = reward(from_json(arguments["genome"])), arguments.get("noise", 0)
    value += arguments.get("add", 0)
    if noise:
        name = zlib.crc32(arguments["genome"].encode())
        value += noise * np.random.default_rng((arguments["seed"], name)).normal()
    return {"AP": value, "process": os.getpid()}


def scored(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Return an AP in 0..1, with noise by genome and seed, for a genome of any space."""
    genome = from_json(arguments["genome"])
    name = zlib.crc32(arguments["genome"].encode())
    mean = 0.3 + 0.2 * sum(cell.op == "sum" for cell in genome.cells) / len(genome.cells)
    return {"AP": mean + 0.02 * np.random.default_rng((arguments["seed"], name)).normal()}


def scored_and_listed(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Return what :func:`scored` does; add a line about the training to the file ``JOBS``."""
    about = {
        "folder": arguments["out"],
        "epochs": arguments["recipe"]["training"]["epochs"],
        "init": arguments.get("init", {}).get("digest"),
    }
    with open(os.environ["JOBS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(about) + "\n")
    return scored(arguments)


def stop(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Stop the search or the final: all other candidates would fail, too."""
    raise SearchError("the data have changed")


def _meet(out: Path) -> None:
    """Wait for a later trial, which only another process can start."""
    end = time.monotonic() + 300
    while not any(int(other.name) > int(out.name) for other in out.parent.iterdir()):
        if time.monotonic() > end:
            raise TimeoutError("no other process has started a trial")
        time.sleep(0.01)


def evaluate_in_epochs(
    arguments: Mapping[str, Any], report: Callable[[Mapping[str, Any]], None]
) -> dict[str, float]:
    """Report ``epochs`` epochs with falling losses, ``seconds`` apart, then score the genome."""
    epochs = arguments["epochs"]
    for epoch in range(1, epochs + 1):
        time.sleep(arguments.get("seconds", 0))
        report({"epoch": epoch, "epochs": epochs, "loss": 1 / epoch})
    return evaluate({**arguments, "seconds": 0})


def train_reference(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Write other weights each time, as a reference, and count the trainings in ``trainings``.

    With ``seconds`` it takes so long; with a file ``fail`` in its folder it raises, and with a
    file ``hang`` it never ends.
    """
    out = Path(arguments["out"])
    with (out / "trainings").open("a") as file:
        file.write("x")
    if (out / "fail").exists():
        _raise(arguments)
    if (out / "hang").exists():
        _hang(arguments)
    time.sleep(arguments.get("seconds", 0))
    (out / "checkpoints").mkdir(exist_ok=True)
    (out / "checkpoints" / "best.ckpt").write_bytes(os.urandom(100))
    return {"AP": arguments.get("AP", 0.5)}


def keep_arguments(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Write the arguments of a reference into its folder, and no weights."""
    given = {**arguments, "genome": json.loads(arguments["genome"])}
    Path(arguments["out"], "arguments.json").write_text(json.dumps(given))
    return {"AP": 0.5}


def evaluate_rung(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Score a genome by :func:`reward` in 0..1, plus noise of the seed that epochs reduce.

    Writes weights, and a line with its folder into ``journal``, if given. It raises for the folders
    in ``fail``, and does not end for those in ``hang``.
    """
    out = Path(arguments["out"])
    if "journal" in arguments:
        with open(arguments["journal"], "a", encoding="utf-8") as file:
            file.write(f"{out.name}\n")
    if out.name in arguments.get("hang", ()):
        return _hang(arguments)
    if out.name in arguments.get("fail", ()):
        return _raise(arguments)
    (out / "checkpoints").mkdir()
    (out / "checkpoints" / "last.ckpt").write_bytes(b"weights")
    noise = random.Random(f"{arguments['genome']} {arguments['seed']}").gauss(0, 1)
    epochs = arguments["recipe"]["training"]["epochs"]
    return {"AP": min(1, max(0, reward(from_json(arguments["genome"])) / 20 + noise / epochs))}


def refuse(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Raise what no other candidate survives either."""
    raise SearchError("the data have changed")


def misbehave(
    arguments: Mapping[str, Any], report: Callable[[Mapping[str, Any]], None]
) -> dict[str, float]:
    """Misbehave as ``how`` says; with ``reports``, report that many epochs first."""
    for epoch in range(arguments.get("reports", 0)):
        report({"epoch": epoch})
    return {
        "raise": _raise,
        "kill": _kill,
        "abort": _abort,
        "hang": _hang,
        "exit": _exit,
        "print": _print,
        "text": _text,
        "memory": _memory,
        "orphan": _orphan,
        "die": _die,
        "leave": _leave,
        "close": _close,
    }[arguments["how"]](arguments)


def _raise(arguments: Mapping[str, Any]) -> dict[str, float]:
    raise RuntimeError("the loss is not finite")


def _kill(arguments: Mapping[str, Any]) -> dict[str, float]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def _abort(arguments: Mapping[str, Any]) -> dict[str, float]:
    os.abort()


def place(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Return the cores that the process may use, as a sum of powers of 2, and its threads."""
    cores = sum(1 << core for core in os.sched_getaffinity(0))
    return {"cores": cores, "threads": float(os.environ.get("OMP_NUM_THREADS", "nan"))}


def _hang(arguments: Mapping[str, Any]) -> dict[str, float]:
    while True:
        time.sleep(60)


def _exit(arguments: Mapping[str, Any]) -> dict[str, float]:
    os._exit(7)


def _print(arguments: Mapping[str, Any]) -> dict[str, float]:
    print('{"metrics": {"AP": 99}}', flush=True)
    os.write(1, b'{"metrics": {"AP": 98}}\n')
    print("a warning", file=sys.stderr)
    return {"AP": 0.5, "read": len(sys.stdin.read())}


def _text(arguments: Mapping[str, Any]) -> dict[str, float]:
    return {"AP": "high"}  # type: ignore[dict-item]


def _memory(arguments: Mapping[str, Any]) -> dict[str, float]:
    raise MemoryError


def _orphan(arguments: Mapping[str, Any]) -> dict[str, float]:
    _leave(arguments)
    return _hang(arguments)


def _die(arguments: Mapping[str, Any]) -> dict[str, float]:
    _leave(arguments)
    return _kill(arguments)


def _leave(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Leave a forked child behind, its id in ``file``. It inherits all open files."""
    if (child := os.fork()) == 0:
        time.sleep(600)
        os._exit(0)
    Path(arguments["file"]).write_text(str(child))
    return {"AP": 0.5}


def _close(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Close all open files, as a daemon does, and hang."""
    os.closerange(3, 256)
    return _hang(arguments)
