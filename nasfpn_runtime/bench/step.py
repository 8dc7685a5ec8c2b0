"""Time a training step of this project, and of the same network in MindSpore's documented way.

In both cases ``guard_isa`` is in force. As a program, ``python -m nasfpn_runtime.bench.step VARIANT
SIDE`` times one variant and prints the milliseconds of every step as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from nasfpn_runtime.processes import last_line, output_of

WARMUP, STEPS = 5, 40
VARIANTS = ("project", "documented")
# Side of the input in px -> recipe with this side.
SIZES = {128: "bccd-proxy", 256: "bccd-256"}


def compare(side: int, rounds: int) -> dict[str, list[float]]:
    """Return the times of all steps in ms, by variant.

    The variants are timed in turn, each in ``rounds`` processes.

    Raises:
        ProcessError: a process failed.
    """
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant in VARIANTS:
            printed = output_of("nasfpn_runtime.bench.step", variant, str(side))
            times[variant] += json.loads(last_line(printed))
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
    """Return a function that trains the published genome on ``Inputs`` and returns the loss.

    Args:
        variant: ``project`` is ``training.step.TrainStep``. ``documented`` is
            ``mindspore.value_and_grad`` and an optimiser in a ``mindspore.jit`` function, as in
            MindSpore's quick start.
        side: a key of ``SIZES``.
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
    """Return ``Inputs`` with random images of that side and 9 anchors per location."""
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
