"""Put the arrays of a public checkpoint into a network of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mindspore import Parameter, nn
from numpy.typing import NDArray

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.importers.parameters import ParameterPath, find_paths
from nasfpn_runtime.importers.shortcuts import plain_shortcuts
from nasfpn_runtime.importers.spellings import SOURCES, Source
from nasfpn_runtime.network.checkpoint import assign
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.network.pyramid import Pyramid
from nasfpn_runtime.network.resnet import ResNet

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Loaded:
    """What came of loading; every name of the arrays is in one of three places.

    Attributes:
        mapped: our parameter by the source's name; aliases of a tensor have the same one.
        missing: our parameters that the arrays lack; they keep their values.
        unexpected: names that the network has no place for.
        ignored: names that are known to be no weights (optimiser, counters, classifier).
    """

    mapped: Mapping[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    ignored: tuple[str, ...]


def load_state(net: nn.Cell, arrays: Arrays, source: str, *, partial: bool = False) -> Loaded:
    """Set the parameters of ``net`` from arrays under the source's own names.

    Args:
        net: a detector, or a pyramid or ResNet alone, which take their part of a detector's
            arrays. A pyramid's levels are then taken to begin at p3.
        arrays: floating point; convolution kernels (out, in, height, width), those of TF's
            ``.../kernel`` (height, width, in, out). Names may have the prefixes that
            wrappers add (``module.``, ``network.``).
        source: a key of ``SOURCES``. ``torchvision`` and ``mindcv`` fill the backbone alone.
        partial: missing names are no error.

    Raises:
        CheckpointError: the source is unknown, or names are missing, shapes differ, aliases
            of one tensor differ, values are not finite floating point numbers, or a layer
            of ours lacks a parameter that the source's has (its bias). One error lists them
            all, and nothing is set.
    """
    table = _table(source)
    given = {_plain(name, table): name for name in arrays}
    parameters = _parameters(net)
    places = find_paths(parameters, _finest(net))
    spelt = {name: table.names(places[name]) if name in places else () for name in parameters}
    mapped: dict[str, str] = {}
    values: dict[str, NDArray[np.float32]] = {}
    missing: list[str] = []
    doubles = [name for name in arrays if given[_plain(name, table)] != name]
    faults = [f"{name} is there with and without a wrapper's prefix" for name in doubles]
    for name, parameter in parameters.items():
        found = [given[theirs] for theirs in spelt[name] if theirs in given]
        if found:
            mapped |= dict.fromkeys(found, name)
            try:
                values[name] = _value(arrays, found, tuple(parameter.shape))
            except CheckpointError as fault:
                faults.append(f"{fault} ({name})")
        elif not table.backbone_only or name.startswith("backbone."):
            missing.append(name)
    if table.plain_shortcuts:
        identities = plain_shortcuts(net, {name: parameters[name] for name in missing})
        values |= identities
        missing = [name for name in missing if name not in identities]
    left = {plain: name for plain, name in given.items() if name not in mapped}
    ignored = {name for plain, name in left.items() if _matches(plain, table.ignored)}
    unexpected = tuple(name for name in left.values() if name not in ignored)
    modules = {_module(name) for name in mapped}
    faults += [f"no place for {name}" for name in unexpected if _module(name) in modules]
    if faults or (missing and not partial) or not mapped:
        lacking = [_spelt(spelt[name], name) for name in missing]
        raise CheckpointError(_complaint(source, places, arrays, lacking, faults))
    assign({name: parameters[name] for name in values}, values)
    return Loaded(
        mapped, tuple(missing), unexpected, tuple(n for n in left.values() if n in ignored)
    )


def _table(source: str) -> Source:
    if source not in SOURCES:
        raise CheckpointError(f"a source is one of {', '.join(SOURCES)}, got {source!r}")
    return SOURCES[source]


def _plain(name: str, table: Source) -> str:
    """Return a name without the wrappers' prefixes and TF's output number."""
    name = name.removesuffix(":0")
    while prefix := next((p for p in table.prefixes if name.startswith(p)), ""):
        name = name.removeprefix(prefix)
    return name


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _module(name: str) -> str:
    """Return a name without what tells weight from bias."""
    return re.sub(r"[./][^./]*$", "", name)


def _parameters(net: nn.Cell) -> dict[str, Parameter]:
    """Return the parameters by the name they have in a whole detector."""
    prefix = {Pyramid: "pyramid.", ResNet: "backbone."}.get(type(net), "")
    return {
        name if name.startswith(prefix) else prefix + name: parameter
        for name, parameter in ((p.name, p) for p in net.get_parameters())
    }


def _finest(net: nn.Cell) -> int:
    return int(net.backbone.levels[0]) if isinstance(net, Network) else 3


def _value(arrays: Arrays, names: list[str], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the one tensor that stands under all the names."""
    first, *aliases = (np.asarray(arrays[name]) for name in names)
    for name, alias in zip(names[1:], aliases, strict=True):
        if not np.array_equal(first, alias):
            raise CheckpointError(f"{names[0]} and {name} are one tensor, got different values")
    if first.dtype.kind != "f" and first.dtype.name != "bfloat16":
        raise CheckpointError(f"{names[0]} is floating point, got {first.dtype}")
    value = first.astype(np.float32)
    if names[0].removesuffix(":0").endswith("/kernel") and value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
    if value.shape != shape:
        raise CheckpointError(f"{names[0]} has shape {shape}, got {value.shape}")
    if not np.isfinite(value).all():
        raise CheckpointError(f"{names[0]} has finite values, got nan or infinity")
    return np.ascontiguousarray(value)


def _spelt(names: tuple[str, ...], ours: str) -> str:
    return f"{names[0]} ({ours})" if names else f"{ours} (which this source never has)"


def _complaint(
    source: str,
    places: Mapping[str, ParameterPath],
    arrays: Iterable[str],
    missing: list[str],
    faults: list[str],
) -> str:
    """Return the summary, a hint at what would fit, and one line a name."""
    recipe = SOURCES[source].recipe
    hint = f"weights of {source} fit the recipe {recipe}" if recipe else ""
    fits = {}
    for other, table in SOURCES.items():
        names = {_plain(name, table) for name in arrays}
        fits[other] = sum(not names.isdisjoint(table.names(place)) for place in places.values())
    best = max(fits, key=lambda other: fits[other])
    if fits[best] > fits[source]:
        hint = f"the names look like those of the source {best}"
    lines = [f"missing {name}" for name in missing] + faults
    return "\n  ".join(
        [
            f"the arrays are no weights of {source} for this network: {len(missing)} missing, "
            f"{len(faults)} wrong" + (f"; {hint}" if hint else ""),
            *lines,
        ]
    )
