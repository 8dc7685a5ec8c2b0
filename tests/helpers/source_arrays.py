"""Arrays under the names that other implementations use, as their checkpoints hold them."""

from __future__ import annotations

import ast
import csv
from typing import Any

import numpy as np
from numpy.typing import NDArray

import searched_archs
from locations import ASSETS
from nasfpn_runtime import build_pyramid

Arrays = dict[str, NDArray[Any]]

# Source -> file with the names and shapes of its complete detector.
LISTS = {
    "mmdet": "mmdet_state_dict_names.tsv",
    "modelzoo": "modelzoo_parameter_names.tsv",
    "tf": "tf_variable_names.tsv",
}


def listed_shapes(source: str) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a source's complete detector."""
    with (ASSETS / LISTS[source]).open() as file:
        return {row[0]: ast.literal_eval(row[1]) for row in csv.reader(file, delimiter="\t")}


def values(net: Any) -> Arrays:
    """Return the parameters of a network of ours by name."""
    return {parameter.name: parameter.asnumpy() for parameter in net.get_parameters()}


def small_pyramid(dialect: str, stacks: int = 1) -> Any:
    """Return the published pyramid with few channels."""
    return build_pyramid(
        searched_archs.load("nasfpn"),
        dialect=dialect,
        in_channels={3: 6, 4: 12, 5: 24},
        channels=8,
        stacks=stacks,
    )


def neck_arrays(source: str, stacks: int = 1) -> Arrays:
    """Return random arrays for :func:`small_pyramid`, under the source's names."""
    rng = np.random.default_rng(0)
    narrow = {256: 8, 512: 6, 1024: 12, 2048: 24}
    parts = ("neck.", "network.neck.", "resample", "fpn_cells")
    later = range(stacks, 7)
    return {
        name: rng.standard_normal([narrow.get(n, n) for n in shape]).astype(np.float32)
        for name, shape in listed_shapes(source).items()
        if name.startswith(parts)
        and not any(f"fpn_stages.{n}." in name or f"cell_{n}/" in name for n in later)
        and not name.endswith("tracked")
    }


def backbone_arrays(name: str, source: str) -> Arrays:
    """Return random arrays of a ResNet and its classifier, named as torchvision or mindcv do."""
    blocks, body = {
        "resnet18": ((2, 2, 2, 2), (3, 3)),
        "resnet50": ((3, 4, 6, 3), (1, 3, 1)),
    }[name]
    torch = source == "torchvision"
    leaves = {
        True: ("weight", "bias", "running_mean", "running_var"),
        False: ("gamma", "beta", "moving_mean", "moving_variance"),
    }[torch]
    rng = np.random.default_rng(1)
    arrays: Arrays = {}

    def put(conv: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        arrays[f"{conv}.weight"] = rng.standard_normal((outputs, inputs, kernel, kernel))
        for leaf in leaves:
            arrays[f"{norm}.{leaf}"] = rng.uniform(0.5, 1.5, outputs)
        if torch:
            arrays[f"{norm}.num_batches_tracked"] = np.array(5)

    put("conv1", "bn1", 4, 3, 7)
    channels = 4
    for group, repeats in enumerate(blocks):
        width = 4 << group
        outputs = width * (4 if len(body) == 3 else 1)
        for block in range(repeats):
            stem = f"layer{group + 1}.{block}"
            if block == 0 and (channels != outputs or group):
                short = f"{stem}.{'downsample' if torch else 'down_sample'}"
                put(f"{short}.0", f"{short}.1", outputs, channels, 1)
            for index, kernel in enumerate(body):
                out = outputs if index == len(body) - 1 else width
                put(f"{stem}.conv{index + 1}", f"{stem}.bn{index + 1}", out, channels, kernel)
                channels = out
    arrays["fc.weight" if torch else "classifier.weight"] = np.ones((10, channels))
    return arrays
