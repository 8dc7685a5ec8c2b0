"""Time from a network to its first step, compiled and loaded from ``NASFPN_CACHE``.

As a program, ``python -m nasfpn_runtime.bench.compile`` trains and evaluates the published genome
once, on random data and with the graphs that ``NASFPN_CACHE`` names, and prints the seconds of
each as JSON.
"""

from __future__ import annotations

import json
import tempfile
import time

import numpy as np

from nasfpn_runtime.bench.step import random_batch
from nasfpn_runtime.cluster.graph_store import OFF, VARIABLE
from nasfpn_runtime.processes import environment, last_line, output_of

RECIPE, SIDE = "bccd-proxy", 128
PARTS = ("training", "evaluation")
WAYS = ("compiled", "loaded")


def compare(rounds: int) -> dict[tuple[str, str], list[float]]:
    """Return the seconds of the first step, by part and way, a value for each round.

    The ways are timed in turn, each in processes of their own.

    Raises:
        ProcessError: a process failed.
    """
    times: dict[tuple[str, str], list[float]] = {(p, way): [] for p in PARTS for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        _timed(folder)  # fills the store
        for _ in range(rounds):
            for way, place in zip(WAYS, (OFF, folder), strict=True):
                for part, seconds in _timed(place).items():
                    times[part, way].append(seconds)
    return times


def _timed(place: str) -> dict[str, float]:
    with environment({VARIABLE: place}):
        printed = output_of("nasfpn_runtime.bench.compile")
    times: dict[str, float] = json.loads(last_line(printed))
    return times


def time_first_steps() -> dict[str, float]:
    """Return the seconds of the first training step and the first evaluated batch, by part."""
    import searched_archs
    from nasfpn_runtime.cluster.device import set_device
    from nasfpn_runtime.inference.engines.mindspore import NetworkEngine
    from nasfpn_runtime.network.build import build_network
    from nasfpn_runtime.network.init import initialise
    from nasfpn_runtime.network.losses import DetectionLoss
    from nasfpn_runtime.recipe.recipe import load_recipe
    from nasfpn_runtime.training.step import DetectorWithLoss, TrainStep

    set_device("CPU")
    recipe, genome = load_recipe(RECIPE), searched_archs.load("nasfpn")
    net = build_network(recipe, genome, 3)
    initialise(net, 0)
    classes = 3 + recipe.model.resolved_dialect().background
    forward = DetectorWithLoss(net, DetectionLoss(classes, recipe.loss))
    step = TrainStep(forward, recipe.training, [0.01])
    engine = NetworkEngine(net, recipe, genome)
    batch = random_batch(SIDE)
    started = time.perf_counter()
    step.state.set_train()
    step(batch)
    trained = time.perf_counter()
    net.set_train(False)
    engine.run(np.zeros((2, 3, SIDE, SIDE), np.float32))
    return dict(zip(PARTS, (trained - started, time.perf_counter() - trained), strict=True))


if __name__ == "__main__":
    print(json.dumps(time_first_steps()))
