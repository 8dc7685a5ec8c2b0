"""Time a training step: this project's, and the same network trained MindSpore's documented way.

Both run with ``guard_isa`` in force. Run as a program it times one of the two in a process of
its own and prints the milliseconds of every step as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

WARMUP, STEPS = 5, 40
VARIANTS = ("project", "documented")
# Image side -> recipe of that size.
SIZES = {128: "bccd-proxy", 256: "bccd-256"}


def compare(side: int, rounds: int) -> dict[str, list[float]]:
    """Time both variants in turn, ``rounds`` processes each; return all step times in ms."""
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant in VARIANTS:
            command = [sys.executable, "-m", "nasfpn_runtime.bench.step", variant, str(side)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            times[variant] += json.loads(done.stdout.splitlines()[-1])
    return times


def time_steps(variant: str, side: int) -> list[float]:
    """Return the milliseconds of each of ``STEPS`` training steps on random data."""
    step = make_step(variant, side)
    batch = random_batch(side)
    times = []
    for _ in range(WARMUP + STEPS):
        started = time.perf_counter()
        step(batch)
        times.append((time.perf_counter() - started) * 1e3)
    return times[WARMUP:]


def make_step(variant: str, side: int) -> Callable[[Any], float]:
    """Return a function of ``Inputs`` to the loss that trains the published genome.

    ``project``: ``step.TrainStep``. ``documented``: ``mindspore.value_and_grad`` and an
    optimiser in a ``mindspore.jit`` function, as MindSpore's quick start has it.
    """
    import mindspore
    from mindspore import nn

    import searched_archs
    from nasfpn_runtime.cluster.device import set_device
    from nasfpn_runtime.network.build import build_network
    from nasfpn_runtime.network.init import initialise
    from nasfpn_runtime.network.losses import DetectionLoss
    from nasfpn_runtime.recipe.recipe import load_recipe
    from nasfpn_runtime.training.step import DetectorWithLoss, TrainStep

    set_device("CPU")
    recipe = load_recipe(SIZES[side], ["training.clip=null", "training.weight_decay=0.0"])
    net = build_network(recipe, searched_archs.load("nasfpn"), 3)
    initialise(net, 0)
    forward = DetectorWithLoss(net, DetectionLoss(4, recipe.loss))
    if variant == "project":
        step = TrainStep(forward, recipe.training, [0.01] * (WARMUP + STEPS))
        return lambda batch: step(batch).loss
    forward.set_train()
    optimizer = nn.Momentum(forward.trainable_params(), 0.01, 0.9)
    gradient = mindspore.value_and_grad(forward, None, optimizer.parameters)

    @mindspore.jit
    def train_step(*inputs: Any) -> Any:
        loss, gradients = gradient(*inputs)
        optimizer(gradients)
        return loss

    return lambda batch: float(train_step(*batch).asnumpy())


def random_batch(side: int, pictures: int = 8) -> Any:
    """Return ``Inputs`` of pictures of that side and 9 anchors a place."""
    import mindspore
    from mindspore import Tensor

    from nasfpn_runtime.batches.inputs import Inputs

    rng = np.random.default_rng(0)
    count = 9 * sum((side >> level) ** 2 for level in range(3, 8))
    labels = np.full((pictures, count), -1, np.int32)
    labels[:, ::50] = 1
    deltas = np.where(labels[..., None] >= 0, 0.3, 0.0) * np.ones(4)
    images = rng.integers(0, 256, (pictures, 3, side, side), dtype=np.uint8)
    return Inputs(
        Tensor(images),
        Tensor(np.full((pictures, 2), side, np.int32)),
        Tensor(labels),
        Tensor(deltas.astype(np.float32)),
        normaliser=Tensor(float((labels >= 0).sum() + 1), mindspore.float32),
        keep=Tensor(1.0, mindspore.float32),
        key=Tensor(0, mindspore.int32),
    )


if __name__ == "__main__":
    print(json.dumps(time_steps(sys.argv[1], int(sys.argv[2]))))
