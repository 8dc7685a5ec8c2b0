"""Initial weights, a function of (seed, parameter name, shape) alone.

Distributions after tensorflow/tpu models/official/detection at 7dc921f: nn_ops.py
(backbone), tf.layers' default (pyramid), heads.py (head).
"""

from __future__ import annotations

import math
import zlib

import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

PRIOR = 0.01  # RetinaNet, section 4.1: initial foreground probability
_TRUNCATED_STD = 0.87962566103423978  # std of a unit normal truncated at 2


def initialise(net: nn.Cell, seed: int) -> None:
    """Set every trainable parameter of a detector; running statistics are left at 0 and 1."""
    for parameter in net.get_parameters():
        name = parameter.name
        if name.endswith("weight") and len(parameter.shape) == 4:
            rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
            value = _kernel(name, parameter.shape, rng)
        elif name.endswith("classes.predict.bias"):
            value = np.full(parameter.shape, -math.log((1 - PRIOR) / PRIOR))
        else:
            continue
        parameter.set_data(Tensor(value.astype(np.float32)))


def _kernel(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    fan_in = math.prod(shape[1:])
    fan_out = shape[0] * math.prod(shape[2:])
    if name.startswith("backbone."):  # variance scaling, fan in, truncated normal
        return _truncated_normal(rng, shape) * (math.sqrt(1 / fan_in) / _TRUNCATED_STD)
    if name.endswith("predict.weight"):
        return rng.standard_normal(shape) * 1e-5
    if name.startswith("head."):
        return rng.standard_normal(shape) * 0.01
    limit = math.sqrt(6 / (fan_in + fan_out))  # Glorot uniform
    return rng.uniform(-limit, limit, shape)


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    value = rng.standard_normal(shape)
    while (outside := np.abs(value) > 2).any():
        value[outside] = rng.standard_normal(int(outside.sum()))
    return value
