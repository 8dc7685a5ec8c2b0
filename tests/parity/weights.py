"""Random weights and maps, which both sides of a comparison derive from names and seeds.

Only numpy is imported: the TensorFlow references import this in a process without MindSpore.
"""

from __future__ import annotations

import re
import zlib

import numpy as np
from numpy.typing import NDArray

VARIANCES = ("running_var", "moving_variance")
SHIFTS = ("running_mean", "moving_mean", "bias", "beta")


def weight(name: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Return the weight of a parameter, which depends only on its name, its shape and a seed.

    Variances and scales are uniform from 0.5 to 1.5; means and shifts have standard deviation
    0.1; kernels (out, in, height, width) keep the standard deviation of their input. The leaf
    of the name tells which of these a parameter is, as torch, TensorFlow or MindSpore spell
    it. Seed 0 gives the weights of the golden outputs.
    """
    rng = np.random.default_rng((zlib.crc32(name.encode()), seed))
    leaf = re.split("[./]", name)[-1]
    if leaf in SHIFTS:
        value = 0.1 * rng.standard_normal(shape)
    elif leaf in VARIANCES or len(shape) == 1:
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return value.astype(np.float32)


def features(
    in_channels: dict[int, int], size: tuple[int, int], batch: int, seed: int
) -> dict[int, NDArray[np.float32]]:
    """Return random maps of a backbone by level, (batch, C, H / 2**level, W / 2**level)."""
    rng = np.random.default_rng(seed)
    return {
        level: rng.standard_normal(
            (batch, channels, size[0] >> level, size[1] >> level), dtype=np.float32
        )
        for level, channels in in_channels.items()
    }
