"""Compute the outputs of TF Model Garden's own NAS-FPN decoder; a program of its own.

    python reference_tf.py JOBS.json OUTPUTS.npz

It needs ``tensorflow``, ``tf_keras`` and ``official`` (tf-models-official), but not MindSpore.
A job has the keys ``blocks`` (TF's tuples as lists), ``in_channels`` (by level), ``size``,
``batch``, ``stacks`` and ``seed``. Weights and maps come from ``weights.py``. For job i, ``i/p3``
... ``i/p7`` are the outputs, (N, C, H, W), and ``i/names`` is JSON with the shape of each weight by
name (kernels out, in, height, width).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from weights import features, weight

CHANNELS = 256  # with any other width the decoder adds convolutions to every resampling
LEAVES = {
    "kernel": "conv.weight",
    "bias": "conv.bias",
    "gamma": "bn.weight",
    "beta": "bn.bias",
    "moving_mean": "bn.running_mean",
    "moving_variance": "bn.running_var",
}


def build(job: dict[str, Any]) -> Any:
    """Return the decoder of a job."""
    import tensorflow as tf
    import tf_keras
    from official.vision.modeling.decoders import nasfpn

    tf_keras.backend.clear_session()  # numbers the layers from 0
    specs = {
        level: tf.TensorShape([None, None, None, c]) for level, c in job["in_channels"].items()
    }
    blocks = [nasfpn.BlockSpec(*block) for block in job["blocks"]]
    return nasfpn.NASFPN(specs, block_specs=blocks, num_repeats=job["stacks"])


def modules(job: dict[str, Any]) -> list[str]:
    """Return the names of the pairs of convolution and batch norm, in order of creation."""
    laterals = [f"neck.lateral.{level}" for level, c in job["in_channels"].items() if c != CHANNELS]
    cells = range(len(job["blocks"]))
    return laterals + [f"neck.cells.{s}.{c}" for s in range(job["stacks"]) for c in cells]


def fill(net: Any, names: list[str], seed: int) -> dict[str, tuple[int, ...]]:
    """Set the weights by name; return their shapes."""
    shapes = {}
    assert len(net.variables) == len(LEAVES) * len(names)
    for variable in net.variables:
        layer, leaf = variable.name.removesuffix(":0").split("/")
        number = int(layer.rpartition("_")[2]) if layer[-1].isdigit() and "_" in layer else 0
        shape = tuple(variable.shape)
        if leaf == "kernel":
            shape = (shape[3], shape[2], *shape[:2])
        name = f"{names[number]}.{LEAVES[leaf]}"
        value = weight(name, shape, seed)
        variable.assign(value.transpose(2, 3, 1, 0) if leaf == "kernel" else value)
        shapes[name] = shape
    return shapes


def main(jobs: Path, outputs: Path) -> None:
    arrays: dict[str, Any] = {}
    for number, job in enumerate(json.loads(jobs.read_text())):
        net = build(job)
        arrays[f"{number}/names"] = json.dumps(fill(net, modules(job), job["seed"]))
        channels = {int(level): c for level, c in job["in_channels"].items()}
        maps = features(channels, tuple(job["size"]), job["batch"], job["seed"])
        inputs = {str(level): x.transpose(0, 2, 3, 1) for level, x in maps.items()}
        for level, y in net(inputs, training=False).items():
            arrays[f"{number}/p{level}"] = y.numpy().transpose(0, 3, 1, 2)
    np.savez(outputs, **arrays)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main(*map(Path, sys.argv[1:]))
