"""Load the arrays of a source's checkpoint into a network."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mindspore import Parameter, nn
from numpy.typing import NDArray

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.importers.parameters import ParameterPath, find_paths
from nasfpn_runtime.importers.spellings import SOURCES, CheckpointSource
from nasfpn_runtime.network.checkpoint import assign
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.network.pyramid import Pyramid
from nasfpn_runtime.network.resnet import ResNet

Arrays = Mapping[str, NDArray[Any]]
Values = dict[str, NDArray[np.float32]]

# The parameters of a block's projection: the kernel, then its batch norm.
KERNEL = "shortcut.conv.weight"
PROJECTION = (
    KERNEL,
    "shortcut.bn.gamma",
    "shortcut.bn.beta",
    "shortcut.bn.moving_mean",
    "shortcut.bn.moving_variance",
)


@dataclass(frozen=True)
class LoadResult:
    """What became of every array and every parameter.

    Each name of the arrays is in ``mapped``, ``unexpected`` or ``ignored``.

    Attributes:
        mapped: our parameter, by the source's name. Aliases of a tensor map to the same
            parameter.
        missing: our parameters that are not among the arrays; they keep their values.
        unexpected: names for which the network has no parameter.
        ignored: names that are known not to be weights (optimiser, counters, classifier).
    """

    mapped: Mapping[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    ignored: tuple[str, ...]


def load_state(net: nn.Cell, arrays: Arrays, source: str, *, partial: bool = False) -> LoadResult:
    """Set the parameters of ``net`` from arrays under the names of a source.

    Args:
        net: a detector; or only a pyramid or a ResNet, which take their part of a detector's
            arrays. The levels of such a pyramid are assumed to start at 3.
        arrays: floating point; convolution kernels are (out, in, height, width), those of
            TF's ``.../kernel`` (height, width, in, out). Names may have the prefixes that
            wrappers add (``module.``, ``network.``).
        source: a key of ``SOURCES``. ``torchvision`` and ``mindcv`` fill the backbone only.
        partial: accept arrays that lack some parameters.

    Raises:
        CheckpointError: the source is unknown; names are missing; shapes differ; aliases of
            one tensor differ; values are not finite floating point numbers; or a layer of
            the source has a parameter that ours lacks (its bias). One error lists all
            faults, and no parameter is set.
    """
    table = _find_source(source)
    given = {_plain_name(name, table): name for name in arrays}
    parameters = _full_names(net)
    paths = find_paths(parameters, _finest_level(net))
    spelt = {name: table.names(paths[name]) if name in paths else () for name in parameters}
    repeated = [name for name in arrays if given[_plain_name(name, table)] != name]
    faults = [f"{name} occurs both with and without a wrapper's prefix" for name in repeated]

    mapped: dict[str, str] = {}
    values: Values = {}
    missing: list[str] = []
    for name, parameter in parameters.items():
        aliases = [given[theirs] for theirs in spelt[name] if theirs in given]
        if aliases:
            mapped |= dict.fromkeys(aliases, name)
            try:
                values[name] = _value(arrays, aliases, tuple(parameter.shape))
            except CheckpointError as fault:
                faults.append(f"{fault} ({name})")
        elif not table.backbone_only or name.startswith("backbone."):
            missing.append(name)
    if table.identity_shortcuts:
        identities = _identity_shortcuts(net, {name: parameters[name] for name in missing})
        values |= identities
        missing = [name for name in missing if name not in identities]

    left = {plain: name for plain, name in given.items() if name not in mapped}
    ignored = {name for plain, name in left.items() if _matches(plain, table.ignored)}
    unexpected = tuple(name for name in left.values() if name not in ignored)
    modules = {_module(name) for name in mapped}
    faults += [
        f"unexpected {name}: our layer has no such parameter"
        for name in unexpected
        if _module(name) in modules
    ]
    if faults or (missing and not partial) or not mapped:
        lacking = [_missing_name(spelt[name], name) for name in missing]
        raise CheckpointError(_list_faults(source, paths, arrays, lacking, faults))
    assign({name: parameters[name] for name in values}, values)
    return LoadResult(
        mapped, tuple(missing), unexpected, tuple(n for n in left.values() if n in ignored)
    )


def _find_source(source: str) -> CheckpointSource:
    if source not in SOURCES:
        raise CheckpointError(f"a source must be one of {', '.join(SOURCES)}, got {source!r}")
    return SOURCES[source]


def _plain_name(name: str, table: CheckpointSource) -> str:
    """Return a name without the wrappers' prefixes and without TF's output number."""
    name = name.removesuffix(":0")
    while prefix := next((p for p in table.prefixes if name.startswith(p)), ""):
        name = name.removeprefix(prefix)
    return name


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _module(name: str) -> str:
    """Return the name of a parameter's layer."""
    return re.sub(r"[./][^./]*$", "", name)


def _full_names(net: nn.Cell) -> dict[str, Parameter]:
    """Return the parameters by the name that they have in a complete detector."""
    prefix = {Pyramid: "pyramid.", ResNet: "backbone."}.get(type(net), "")
    return {
        name if name.startswith(prefix) else prefix + name: parameter
        for name, parameter in ((p.name, p) for p in net.get_parameters())
    }


def _finest_level(net: nn.Cell) -> int:
    return int(net.backbone.levels[0]) if isinstance(net, Network) else 3


def _value(arrays: Arrays, names: list[str], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the value of a parameter of that shape, which is stored under all the names."""
    first, *aliases = (np.asarray(arrays[name]) for name in names)
    for name, alias in zip(names[1:], aliases, strict=True):
        if not np.array_equal(first, alias):
            raise CheckpointError(
                f"{names[0]} and {name} are one tensor and must be equal, got different values"
            )
    if first.dtype.kind != "f" and first.dtype.name != "bfloat16":
        raise CheckpointError(f"{names[0]} must be floating point, got {first.dtype}")
    value = first.astype(np.float32)
    if names[0].removesuffix(":0").endswith("/kernel") and value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
    if value.shape != shape:
        raise CheckpointError(f"{names[0]} must have shape {shape}, got {value.shape}")
    if not np.isfinite(value).all():
        raise CheckpointError(f"{names[0]} must have finite values, got nan or infinity")
    return np.ascontiguousarray(value)


def _identity_shortcuts(net: nn.Cell, missing: Mapping[str, Parameter]) -> Values:
    """Return values that turn missing projections into the identity.

    The first block of torchvision's ResNet-18 and 34 has no projection; ours has one, as
    TF's. With these values it is the identity at inference. During training its batch norm
    normalises.

    Args:
        missing: parameters by name. A projection gets values if it keeps the number of
            channels, all of it is missing, and the rest of its block is not.
    """
    epsilons = {
        cell.gamma.name: float(cell.eps)
        for _, cell in net.cells_and_names()
        if isinstance(cell, nn.BatchNorm2d)
    }
    values: Values = {}
    for name in missing:
        block = name.removesuffix(KERNEL)
        names = [block + leaf for leaf in PROJECTION]
        has_body = f"{block}body.0.conv.weight" not in missing
        if block == name or not has_body or not all(n in missing for n in names):
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


def _missing_name(names: tuple[str, ...], ours: str) -> str:
    return f"{names[0]} ({ours})" if names else f"{ours} (which this source never has)"


def _list_faults(
    source: str,
    paths: Mapping[str, ParameterPath],
    arrays: Iterable[str],
    missing: list[str],
    faults: list[str],
) -> str:
    """Return a message: a summary with a hint at what would fit, then a line for each fault."""
    recipe = SOURCES[source].recipe
    hint = f"weights of {source} fit the recipe {recipe}" if recipe else ""
    matches = {}
    for other, table in SOURCES.items():
        names = {_plain_name(name, table) for name in arrays}
        matches[other] = sum(not names.isdisjoint(table.names(path)) for path in paths.values())
    best = max(matches, key=lambda other: matches[other])
    if matches[best] > matches[source]:
        hint = f"the names look like those of the source {best}"
    summary = (
        f"cannot load the arrays as weights of {source}: {len(missing)} missing, "
        f"{len(faults)} wrong"
    )
    return "\n  ".join(
        [f"{summary}; {hint}" if hint else summary, *(f"missing {n}" for n in missing), *faults]
    )
