"""Initial weights: a function of (seed, parameter name, shape) only."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]

PRIOR = 0.01  # RetinaNet, section 4.1: initial foreground probability
_TRUNCATED_STD = 0.87962566103423978  # standard deviation of a unit normal truncated at 2


def initialise(net: nn.Cell, seed: int, init: str = "tf") -> None:
    """Set every trainable parameter of a detector. Running statistics stay at 0 and 1.

    Args:
        init: a key of :data:`INITS`.
    """
    names = {parameter.name for parameter in net.get_parameters()}
    for parameter in net.get_parameters():
        name, shape = parameter.name, tuple(parameter.shape)
        if name.endswith("weight") and len(shape) == 4:
            draw = next(d for part, d in INITS[init].items() if re.search(part, name))
            value = draw(np.random.default_rng((seed, zlib.crc32(name.encode()))), shape)
        elif re.fullmatch(r"head\.classes\.(\d+\.)?predict\.(pointwise\.)?bias", name):
            value = np.full(shape, -math.log((1 - PRIOR) / PRIOR))
        elif init in ZERO_LAST_GAMMA and _ends_a_branch(name, names):
            value = np.zeros(shape)
        else:
            continue
        parameter.set_data(Tensor(value.astype(np.float32)))


def normal(std: float) -> Draw:
    """Return a normal distribution with mean 0 and standard deviation ``std``."""
    return lambda rng, shape: rng.standard_normal(shape) * std


def truncated_normal(std: float) -> Draw:
    """Return a normal distribution of ``std``, truncated at two standard deviations."""
    return lambda rng, shape: _truncated(rng, shape) * std


def variance_scaling(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw from a truncated normal with variance 1 / fan in, as TensorFlow does."""
    return _truncated(rng, shape) * (math.sqrt(1 / _fan_in(shape)) / _TRUNCATED_STD)


def he_fan_out(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw from a normal with variance 2 / fan out (He et al. 2015; torchvision's ResNet)."""
    return rng.standard_normal(shape) * math.sqrt(2 / _fan_out(shape))


def glorot(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw from a uniform with variance 2 / (fan in + fan out), the default of tf.layers."""
    return _uniform(rng, shape, 6 / (_fan_in(shape) + _fan_out(shape)))


def xavier_fan_in(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw from a uniform with variance 1 / fan in, Caffe2's Xavier."""
    return _uniform(rng, shape, 3 / _fan_in(shape))


# Distribution of a convolution's weights, by the first pattern that its name matches. Sources:
# tf: tensorflow/tpu models/official/detection at 7dc921f, nn_ops.py (backbone), tf.layers'
# default (pyramid), heads.py. mmdet 3.3.0: backbones/resnet.py, necks/nas_fpn.py,
# dense_heads/retina_sepbn_head.py. modelzoo: research/cv/nas-fpn at eab643f, init_params.py.
# Only tf has separable convolutions; both of their parts use the default of tf.layers.
INITS: Mapping[str, Mapping[str, Draw]] = {
    "tf": {
        "^backbone": variance_scaling,
        r"(depth|point)wise\.weight": glorot,
        "predict": normal(1e-5),
        "^head": normal(0.01),
        "": glorot,
    },
    "mmdet": {"^backbone": he_fan_out, "^head": normal(0.01), "": xavier_fan_in},
    "modelzoo": {"": truncated_normal(0.01)},
}

# Where gamma of the last batch norm of every residual branch starts at 0.
ZERO_LAST_GAMMA = ("mmdet", "modelzoo")


def _ends_a_branch(name: str, names: set[str]) -> bool:
    """Return whether ``name`` is gamma of the last batch norm of a residual branch."""
    match = re.fullmatch(r"(backbone\.groups\.\d+\.\d+\.body\.)(\d)(\.bn\.gamma)", name)
    return match is not None and f"{match[1]}{int(match[2]) + 1}{match[3]}" not in names


def _fan_in(shape: tuple[int, ...]) -> int:
    return math.prod(shape[1:])


def _fan_out(shape: tuple[int, ...]) -> int:
    return shape[0] * math.prod(shape[2:])


def _uniform(
    rng: np.random.Generator, shape: tuple[int, ...], variance_times_3: float
) -> NDArray[np.float64]:
    limit = math.sqrt(variance_times_3)
    return rng.uniform(-limit, limit, shape)


def _truncated(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    value = rng.standard_normal(shape)
    while (outside := np.abs(value) > 2).any():
        value[outside] = rng.standard_normal(int(outside.sum()))
    return value
