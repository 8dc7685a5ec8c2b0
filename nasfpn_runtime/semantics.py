"""Network numerics in which the public NAS-FPN implementations differ, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Semantics:
    """Numerics of one implementation; the compiled cells read nothing else.

    Attributes:
        lateral_bias: laterals have a bias before batch norm.
        lateral_skip: no lateral where the backbone already has the channels.
        cell_bias: cell convolutions have a bias before batch norm.
        norm_momentum: share of the old running statistics kept at a step.
        norm_epsilon: added to the variance.
        background: class 0 of the logits is a background that is never a target.
    """

    lateral_bias: bool
    lateral_skip: bool
    cell_bias: bool
    norm_momentum: float
    norm_epsilon: float
    background: bool


# tensorflow/tpu models/official/detection at 7dc921f: modeling/architecture/{nasfpn,
# heads,nn_ops}.py, configs/base_config.py.
TF = Semantics(
    lateral_bias=True,
    lateral_skip=True,
    cell_bias=True,
    norm_momentum=0.997,
    norm_epsilon=1e-4,
    background=True,
)

PRESETS = {"tf": TF}
