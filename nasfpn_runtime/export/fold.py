"""Take batch norm and unused outputs out of a detector whose weights are final."""

from __future__ import annotations

from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn
from numpy.typing import NDArray

from nasfpn_runtime.network.head import Tower
from nasfpn_runtime.network.layers import Separable
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.pictures.boxes import ORDERS, BoxCode

Array = NDArray[np.float64]

_XYWH = [ORDERS["yxhw"].index(place) for place in ORDERS["xywh"]]  # of (y, x, h, w)


class Affine(nn.Cell):
    """``x * scale + shift`` by channel: (N, C, H, W) to the same."""

    def __init__(self, scale: Array, shift: Array) -> None:
        super().__init__()
        self.scale = _parameter(scale[:, None, None], "scale")
        self.shift = _parameter(shift[:, None, None], "shift")

    def construct(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def fold(net: Network, background: bool, code: BoxCode) -> None:
    """Change a detector in place into one without batch norm that gives the same boxes.

    Each batch norm goes into the convolution before it. Where a convolution serves all
    levels, each with a batch norm of its own, it stays one, and the batch norms become a
    multiplication and an addition. The head no longer computes the background class, and
    its four offsets are (x, y, w, h) in sides of the anchor, whatever the box code.
    Arithmetic is in float64, rounded once.

    Args:
        background: class 0 is a background.
        code: what the detector was trained to predict.
    """
    for cell in [cell for _, cell in net.cells_and_names()]:
        if isinstance(getattr(cell, "bn", None), nn.BatchNorm2d):
            _scale(cell, "conv", *_affine(cell.bn))
            cell.bn = nn.Identity()
        elif isinstance(cell, Tower):
            _fold_tower(cell)
    for tower in _towers(net.head.classes):
        _choose(tower, np.arange(int(background), tower.outputs))
    order = [ORDERS[code.order][place] for place in _XYWH]
    for tower in _towers(net.head.boxes):
        _choose(tower, np.array(order), np.repeat(code.variances, 2))
    for name, parameter in net.parameters_and_names():
        parameter.name = name  # new ones do not know where they are


def _fold_tower(tower: Tower) -> None:
    norms = tower.norms
    for place in range(tower.depth):
        if not isinstance(norms[0][place], nn.BatchNorm2d):
            continue
        if len(norms) == 1:
            _scale(tower.convs, place, *_affine(norms[0][place]))
        for level in norms:
            level[place] = nn.Identity() if len(norms) == 1 else Affine(*_affine(level[place]))


def _towers(part: nn.Cell) -> list[Tower]:
    return [part] if isinstance(part, Tower) else list(part)


def _affine(norm: nn.BatchNorm2d) -> tuple[Array, Array]:
    """Return the scale and shift of a batch norm with its running statistics."""
    gamma, beta, mean, variance = (
        p.asnumpy().astype(np.float64)
        for p in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    scale = gamma / np.sqrt(variance + norm.eps)
    return scale, beta - mean * scale


def _choose(tower: Tower, kept: NDArray[np.intp], gain: Array | None = None) -> None:
    """Keep some outputs of each anchor, in that order, each multiplied with its gain."""
    anchors = _last(tower.predict).out_channels // tower.outputs
    rows = (np.arange(anchors)[:, None] * tower.outputs + kept).ravel()
    scale = np.ones(len(rows)) if gain is None else np.tile(gain, anchors)
    _scale(tower, "predict", scale, None, rows)
    tower.outputs = len(kept)


def _scale(
    owner: Any,
    place: str | int,
    scale: Array,
    shift: Array | None,
    rows: NDArray[np.intp] | None = None,
) -> None:
    """Replace the convolution at ``place`` by (the rows of) it, scaled and shifted."""
    whole = owner[place] if isinstance(place, int) else getattr(owner, place)
    old = _last(whole)
    weight = old.weight.asnumpy().astype(np.float64)
    bias = old.bias.asnumpy().astype(np.float64) if old.has_bias else np.zeros(len(weight))
    if rows is not None:
        weight, bias = weight[rows], bias[rows]
    bias = bias * scale + (0 if shift is None else shift)
    new = _like(old, weight * scale[:, None, None, None], bias)
    if isinstance(whole, Separable):
        whole.pointwise = new
    elif isinstance(place, int):
        owner[place] = new
    else:
        setattr(owner, place, new)


def _last(conv: nn.Cell) -> nn.Conv2d:
    return conv.pointwise if isinstance(conv, Separable) else conv


def _like(old: nn.Conv2d, weight: Array, bias: Array) -> nn.Conv2d:
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
