"""Take batch norm and unused outputs out of a trained detector."""

from __future__ import annotations

from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn
from numpy.typing import NDArray

from nasfpn_runtime.network.head import Tower
from nasfpn_runtime.network.layers import SeparableConv
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.pictures.boxes import ORDERS, BoxCode

Array = NDArray[np.float64]

_XYWH = [ORDERS["yxhw"].index(axis) for axis in ORDERS["xywh"]]  # x, y, w, h in (y, x, h, w)


class Affine(nn.Cell):
    """``x * scale + shift`` for each channel: (N, C, H, W) to the same shape."""

    def __init__(self, scale: Array, shift: Array) -> None:
        super().__init__()
        self.scale = _parameter(scale[:, None, None], "scale")
        self.shift = _parameter(shift[:, None, None], "shift")

    def construct(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def fold(net: Network, background: bool, code: BoxCode) -> None:
    """Change a detector in place to one without batch norm that gives the same boxes.

    Each batch norm is merged into the convolution before it. If all levels share a
    convolution and have their own batch norms, the convolution stays as it is, and each batch
    norm becomes an :class:`Affine`. The head no longer computes the background class, and its
    four offsets become (x, y, w, h) in sides of the anchor, for any box code. Weights are
    computed in float64 and rounded once.

    Args:
        net: the detector, with its final weights.
        background: class 0 is the background.
        code: the box code that the detector was trained with.
    """
    for cell in [cell for _, cell in net.cells_and_names()]:
        if isinstance(getattr(cell, "bn", None), nn.BatchNorm2d):
            _replace_conv(cell, "conv", *_affine(cell.bn))
            cell.bn = nn.Identity()
        elif isinstance(cell, Tower):
            _fold_tower(cell)
    for tower in _towers(net.head.classes):
        _select_outputs(tower, np.arange(int(background), tower.outputs))
    order = [ORDERS[code.order][axis] for axis in _XYWH]
    for tower in _towers(net.head.boxes):
        _select_outputs(tower, np.array(order), np.repeat(code.variances, 2))
    for name, parameter in net.parameters_and_names():
        parameter.name = name  # new parameters are named after their module only


def _fold_tower(tower: Tower) -> None:
    norms = tower.norms
    for index in range(tower.depth):
        if not isinstance(norms[0][index], nn.BatchNorm2d):
            continue
        if len(norms) == 1:
            _replace_conv(tower.convs, index, *_affine(norms[0][index]))
        for level in norms:
            level[index] = nn.Identity() if len(norms) == 1 else Affine(*_affine(level[index]))


def _towers(part: nn.Cell) -> list[Tower]:
    """Return the towers of a part of the head: one for all levels, or one for each."""
    return [part] if isinstance(part, Tower) else list(part)


def _affine(norm: nn.BatchNorm2d) -> tuple[Array, Array]:
    """Return the scale and shift of a batch norm with its running statistics."""
    gamma, beta, mean, variance = (
        p.asnumpy().astype(np.float64)
        for p in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    scale = gamma / np.sqrt(variance + norm.eps)
    return scale, beta - mean * scale


def _select_outputs(tower: Tower, kept: NDArray[np.intp], gain: Array | None = None) -> None:
    """Keep some outputs of each anchor, in the order of ``kept``, each multiplied by its gain."""
    anchors = _last_conv(tower.predict).out_channels // tower.outputs
    rows = (np.arange(anchors)[:, None] * tower.outputs + kept).ravel()
    scale = np.ones(len(rows)) if gain is None else np.tile(gain, anchors)
    _replace_conv(tower, "predict", scale, None, rows)
    tower.outputs = len(kept)


def _replace_conv(
    owner: Any,
    slot: str | int,
    scale: Array,
    shift: Array | None,
    rows: NDArray[np.intp] | None = None,
) -> None:
    """Replace a convolution by one whose outputs are scaled and shifted.

    Args:
        owner: the module that has the convolution.
        slot: its attribute or its index there.
        scale, shift: by output; no shift if None.
        rows: outputs to keep, in order; None for all.
    """
    conv = owner[slot] if isinstance(slot, int) else getattr(owner, slot)
    old = _last_conv(conv)
    weight = old.weight.asnumpy().astype(np.float64)
    bias = old.bias.asnumpy().astype(np.float64) if old.has_bias else np.zeros(len(weight))
    if rows is not None:
        weight, bias = weight[rows], bias[rows]
    bias = bias * scale + (0 if shift is None else shift)
    new = _new_conv(old, weight * scale[:, None, None, None], bias)
    if isinstance(conv, SeparableConv):
        conv.pointwise = new
    elif isinstance(slot, int):
        owner[slot] = new
    else:
        setattr(owner, slot, new)


def _last_conv(conv: nn.Cell) -> nn.Conv2d:
    """Return the convolution itself, or the second of a separable one."""
    return conv.pointwise if isinstance(conv, SeparableConv) else conv


def _new_conv(old: nn.Conv2d, weight: Array, bias: Array) -> nn.Conv2d:
    """Return a convolution with the geometry of ``old`` and other weights."""
    new = nn.Conv2d(
        old.in_channels,
        len(weight),
        old.kernel_size,
        old.stride,
        old.pad_mode,
        old.padding,
        group=old.group,
        has_bias=True,
        weight_init="zeros",
        bias_init="zeros",
    )
    new.weight, new.bias = _parameter(weight, "weight"), _parameter(bias, "bias")
    return new


def _parameter(value: Array, name: str) -> Parameter:
    return Parameter(Tensor(np.ascontiguousarray(value), mindspore.float32), name=name)
