"""Random weights by name, and the names and shapes that both sides of a comparison agree on.

Plain numpy: the TensorFlow reference imports this in a process without MindSpore.
"""

from __future__ import annotations

import re
import zlib

import numpy as np
from numpy.typing import NDArray

VARIANCES = ("running_var", "moving_variance")
SHIFTS = ("running_mean", "moving_mean", "bias", "beta")


def weight(name: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Return the weight of a parameter: a function of its name, shape and a seed.

    Variances and scales are uniform in 0.5 to 1.5, means and shifts of deviation 0.1;
    kernels (out, in, height, width) keep the deviation of what goes through them. What a
    parameter is, its leaf says: in the spelling of torch, TensorFlow or MindSpore. Seed 0
    gives the weights of the goldens.
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
    """Return a backbone's maps by level, (batch, C, H / 2**level, W / 2**level)."""
    rng = np.random.default_rng(seed)
    return {
        level: rng.standard_normal(
            (batch, channels, size[0] >> level, size[1] >> level), dtype=np.float32
        )
        for level, channels in in_channels.items()
    }
