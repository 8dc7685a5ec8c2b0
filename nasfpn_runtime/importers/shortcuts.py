"""Projections that change nothing, for sources whose block has none there."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from mindspore import Parameter, nn
from numpy.typing import NDArray

KERNEL = "shortcut.conv.weight"
LEAVES = (
    KERNEL,
    "shortcut.bn.gamma",
    "shortcut.bn.beta",
    "shortcut.bn.moving_mean",
    "shortcut.bn.moving_variance",
)


def plain_shortcuts(
    net: nn.Cell, missing: Mapping[str, Parameter]
) -> dict[str, NDArray[np.float32]]:
    """Return values for missing projections that keep the number of channels.

    The first block of torchvision's ResNet-18 and 34 has no projection; ours, as TF's, has.
    With these values it is the identity at inference; trained, its batch norm normalises.

    Args:
        missing: parameters by name; a projection counts if all of it is missing, and its
            block is not.
    """
    epsilons = {
        cell.gamma.name: float(cell.eps)
        for _, cell in net.cells_and_names()
        if isinstance(cell, nn.BatchNorm2d)
    }
    values: dict[str, NDArray[np.float32]] = {}
    for name in missing:
        block = name.removesuffix(KERNEL)
        names = [block + leaf for leaf in LEAVES]
        given = f"{block}body.0.conv.weight" not in missing
        if block == name or not given or not all(n in missing for n in names):
            continue
        outputs, inputs = missing[name].shape[:2]
        if outputs != inputs:
            continue
        kernel, gamma, beta, mean, variance = names
        epsilon = epsilons[missing[gamma].name]
        values[kernel] = np.eye(outputs, dtype=np.float32)[:, :, None, None]
        # Batch norm divides by sqrt(variance + epsilon).
        values[gamma] = np.full(outputs, math.sqrt(1 + epsilon), np.float32)
        values[beta] = values[mean] = np.zeros(outputs, np.float32)
        values[variance] = np.ones(outputs, np.float32)
    return values
