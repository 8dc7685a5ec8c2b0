"""Modules of a folded detector as ONNX nodes.

``apply(graph, cell, name, x)`` adds the nodes of ``cell`` to the graph and returns the name of its
output. Nodes and weights are named after the path of the module in the network. Each function here
does what the ``construct`` of its module does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from mindspore import Parameter, nn

from nasfpn_runtime.export.fold import Affine
from nasfpn_runtime.export.onnx_graph import OnnxGraph
from nasfpn_runtime.network import layers, merge, mobilenet, pyramid, resample, resnet


def apply(graph: OnnxGraph, cell: nn.Cell, name: str, x: str) -> str:
    """Add a module with one input and one output.

    Raises:
        KeyError: there is no function for this type of module.
    """
    return _MODULES[type(cell)](graph, cell, name, x)


def maps(graph: OnnxGraph, net: nn.Cell, images: str) -> tuple[str, ...]:
    """Add backbone and pyramid; return the pyramid's maps, finest first."""
    backbone, neck = net.backbone, net.pyramid
    features = _backbone(graph, backbone, images)
    levels: tuple[str, ...] = ()
    for i, lateral in enumerate(neck.laterals):
        levels = (*levels, apply(graph, lateral, f"laterals.{i}", features[i]))
    for i, coarser in enumerate(neck.coarser):
        levels = (*levels, apply(graph, coarser, f"coarser.{i}", levels[-1]))
    for number, stack in enumerate(neck.stacks):
        nodes = levels
        for i, cell in enumerate(stack.cells_):
            nodes = (*nodes, _merging_cell(graph, cell, f"stacks.{number}.{i}", nodes))
        levels = tuple(nodes[node] for node in stack.outputs)
    return levels


def tower(graph: OnnxGraph, cell: Any, name: str, x: str, level: int, node: str) -> str:
    """Add a head's tower on one level.

    Args:
        name: prefix for the names of its weights, which several levels may share.
        level: index of the batch norms of this level.
        node: prefix for the names of its nodes.
    """
    for i in range(cell.depth):
        x = conv3(graph, cell.convs[i], f"{name}.convs.{i}", x, f"{node}.conv{i}")
        x = apply(graph, cell.norms[level][i], f"{node}.norm{i}", x)
        x = graph.add("Relu", f"{node}.relu{i}", x)
    return conv3(graph, cell.predict, f"{name}.predict", x, f"{node}.predict")


def conv3(graph: OnnxGraph, cell: nn.Cell, name: str, x: str, node: str) -> str:
    """Add a convolution, or the two of a separable one; see :func:`tower` for the names."""
    if isinstance(cell, layers.SeparableConv):
        x = _convolve(graph, cell.depthwise, f"{name}.depthwise", x, f"{node}.depthwise")
        return _convolve(graph, cell.pointwise, f"{name}.pointwise", x, node)
    return _convolve(graph, cell, name, x, node)


def _convolve(graph: OnnxGraph, cell: nn.Conv2d, name: str, x: str, node: str) -> str:
    inputs = [x, _weight(graph, cell.weight, f"{name}.weight")]
    if cell.has_bias:
        inputs.append(_weight(graph, cell.bias, f"{name}.bias"))
    return graph.add(
        "Conv",
        node,
        *inputs,
        kernel_shape=list(cell.kernel_size),
        strides=list(cell.stride),
        pads=_pads(cell),
        group=cell.group,
    )


def _pads(cell: Any) -> list[int]:
    """Return the padding at the top, left, bottom and right.

    MindSpore's "same" is TensorFlow's. Every input side is a multiple of the stride, so the
    padding is the kernel less the stride in total; an odd pixel goes to the end.
    """
    mode = cell.pad_mode.lower()
    if mode == "pad":
        return [cell.padding] * 4
    if mode == "valid":
        return [0] * 4
    sizes = zip(_pair(cell.kernel_size), _pair(cell.stride), strict=True)
    height, width = (max(0, kernel - stride) for kernel, stride in sizes)
    return [height // 2, width // 2, height - height // 2, width - width // 2]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)[-2:]


def _weight(graph: OnnxGraph, parameter: Parameter, name: str) -> str:
    return graph.constant(name, parameter.asnumpy())


def _conv(graph: OnnxGraph, cell: nn.Cell, name: str, x: str) -> str:
    return conv3(graph, cell, name, x, name)


def _sequence(graph: OnnxGraph, cell: nn.Cell, name: str, x: str) -> str:
    for i, part in enumerate(cell):
        x = apply(graph, part, f"{name}.{i}", x)
    return x


def _conv_norm(graph: OnnxGraph, cell: nn.Cell, name: str, x: str) -> str:
    x = apply(graph, cell.conv, name, x)
    return apply(graph, cell.relu, f"{name}.relu", x) if hasattr(cell, "relu") else x


def _block(graph: OnnxGraph, cell: resnet.ResidualBlock, name: str, x: str) -> str:
    body = apply(graph, cell.body, f"{name}.body", x)
    shortcut = apply(graph, cell.shortcut, f"{name}.shortcut", x)
    return graph.add("Relu", f"{name}.relu", graph.add("Add", f"{name}.sum", body, shortcut))


def _inverted(graph: OnnxGraph, cell: mobilenet.InvertedResidual, name: str, x: str) -> str:
    body = apply(graph, cell.body, f"{name}.body", x)
    return graph.add("Add", f"{name}.sum", body, x) if cell.residual else body


def _max_pool(graph: OnnxGraph, cell: nn.MaxPool2d, name: str, x: str) -> str:
    kernel, stride = _pair(cell.kernel_size), _pair(cell.stride)
    return graph.add("MaxPool", name, x, kernel_shape=kernel, strides=stride, pads=_pads(cell))


def _pad(graph: OnnxGraph, cell: nn.Pad, name: str, x: str) -> str:
    before, after = zip(*cell.paddings, strict=True)
    return graph.add("Pad", name, x, graph.integers(*before, *after))


def _upsample(graph: OnnxGraph, cell: resample.Upsample, name: str, x: str) -> str:
    scales = graph.constant(f"scales.{cell.factor}", [1, 1, cell.factor, cell.factor], np.float32)
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.add("Resize", name, x, "", scales, mode="nearest", **how)


def _affine(graph: OnnxGraph, cell: Affine, name: str, x: str) -> str:
    scaled = graph.add("Mul", f"{name}.scaled", x, _weight(graph, cell.scale, f"{name}.scale"))
    return graph.add("Add", name, scaled, _weight(graph, cell.shift, f"{name}.shift"))


def _relu6(graph: OnnxGraph, cell: nn.ReLU6, name: str, x: str) -> str:
    return graph.add("Clip", name, x, graph.constant("zero", 0), graph.constant("six", 6))


def _coarser(graph: OnnxGraph, cell: pyramid.CoarserLevel, name: str, x: str) -> str:
    x = apply(graph, cell.project, f"{name}.project", x)
    return apply(graph, cell.pool, f"{name}.pool", x)


def _backbone(graph: OnnxGraph, cell: Any, images: str) -> list[str]:
    x = apply(graph, cell.stem, "backbone.stem", images)
    first = 1  # the level of the first group
    if isinstance(cell, resnet.ResNet):
        x, first = apply(graph, cell.pool, "backbone.pool", x), 2
    features = []
    for level, group in enumerate(cell.groups, start=first):
        x = apply(graph, group, f"backbone.groups.{level - first}", x)
        if level in cell.levels:
            features.append(x)
    return features


def _merging_cell(
    graph: OnnxGraph, cell: merge.MergingCell, name: str, nodes: tuple[str, ...]
) -> str:
    inputs = [
        apply(graph, resized, f"{name}.in{i}", nodes[node])
        for i, (node, resized) in enumerate(zip(cell.nodes, cell.resamples, strict=True))
    ]
    merged = _MERGES[type(cell.merge)](graph, cell.merge, name, inputs)
    merged = _sum(graph, f"{name}.leftovers", [merged, *(nodes[n] for n in cell.leftovers)])
    if cell.plain:
        return merged
    return apply(graph, cell.out, name, graph.add("Relu", f"{name}.relu", merged))


def _sum(graph: OnnxGraph, name: str, inputs: list[str]) -> str:
    total = inputs[0]
    for i, other in enumerate(inputs[1:]):
        total = graph.add("Add", f"{name}.{i}", total, other)
    return total


def _attention(graph: OnnxGraph, cell: merge.Attention, name: str, inputs: list[str]) -> str:
    gate, value = inputs[cell.gate], inputs[1 - cell.gate]
    pool = "GlobalMaxPool" if cell.max else "GlobalAveragePool"
    factor = graph.add("Sigmoid", f"{name}.gate", graph.add(pool, f"{name}.gate.pool", gate))
    return graph.add("Add", f"{name}.merge", gate, graph.add("Mul", f"{name}.gated", value, factor))


def _weighted(graph: OnnxGraph, cell: merge.WeightedSum, name: str, inputs: list[str]) -> str:
    weights = cell.weights.asnumpy().astype(np.float64).clip(0)
    fractions = weights / (weights.sum() + 1e-4)
    parts = [
        graph.add("Mul", f"{name}.part{i}", x, graph.constant(f"{name}.share{i}", fraction))
        for i, (x, fraction) in enumerate(zip(inputs, fractions, strict=True))
    ]
    return _sum(graph, f"{name}.merge", parts)


_MODULES: dict[type, Callable[[OnnxGraph, Any, str, str], str]] = {
    nn.Identity: lambda graph, cell, name, x: x,
    nn.SequentialCell: _sequence,
    nn.Conv2d: _conv,
    nn.MaxPool2d: _max_pool,
    nn.Pad: _pad,
    nn.ReLU: lambda graph, cell, name, x: graph.add("Relu", name, x),
    nn.ReLU6: _relu6,
    Affine: _affine,
    layers.SeparableConv: _conv,
    layers.BackboneConv: _conv_norm,
    layers.ConvNorm: _conv_norm,
    resnet.ResidualBlock: _block,
    mobilenet.InvertedResidual: _inverted,
    pyramid.CoarserLevel: _coarser,
    resample.Upsample: _upsample,
}
_MERGES: dict[type, Callable[[OnnxGraph, Any, str, list[str]], str]] = {
    merge.Sum: lambda graph, cell, name, inputs: _sum(graph, f"{name}.merge", inputs),
    merge.Attention: _attention,
    merge.WeightedSum: _weighted,
}
