"""Export a checkpoint: write a file, run it, and compare it with the checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nasfpn_runtime.errors import CheckpointError, EngineError
from nasfpn_runtime.export.compare import Difference, compare, compare_suppressed
from nasfpn_runtime.export.deployed import DeployedNetwork
from nasfpn_runtime.export.fold import fold
from nasfpn_runtime.export.mindir import require_ascend, write_air, write_mindir
from nasfpn_runtime.export.onnx_file import write_onnx
from nasfpn_runtime.extras import require
from nasfpn_runtime.files import atomic_write
from nasfpn_runtime.inference.checksum import write_checksum
from nasfpn_runtime.inference.description import ENTRY, Description, describe
from nasfpn_runtime.inference.engines.base import Engine
from nasfpn_runtime.inference.engines.mindspore import open_checkpoint
from nasfpn_runtime.inference.metadata import read_entries
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.build import build_network
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.pictures.image import Pixels, fit_size
from nasfpn_runtime.recipe.memory import check_detecting
from search_space.cost.cost import Cost, detector_cost


@dataclass(frozen=True)
class ExportRequest:
    """What to export a checkpoint as.

    Attributes:
        format: ``onnx``, ``mindir`` or ``air``.
        precision: ``fp32`` or ``fp16``, for weights and convolutions.
        suppressed: give detections instead of all boxes and scores; ONNX only.
        dynamic: accept any number of images and, in ONNX, any sides that are multiples of
            the coarsest stride; otherwise one image of ``size``.
        size: (height, width) of the input, rounded up to multiples of the coarsest stride;
            None for the recipe's.
        stacks: number of stacks to keep of the pyramid; None for all.
    """

    format: str
    precision: str = "fp32"
    suppressed: bool = False
    dynamic: bool = False
    size: tuple[int, int] | None = None
    stacks: int | None = None


@dataclass(frozen=True)
class ExportReport:
    """An exported file.

    Attributes:
        path: the file.
        bytes: its size.
        cost: parameters and MACs of the network, at the size in the description.
        difference: largest differences from the checkpoint; None for AIR.
        description: the description inside the file.
    """

    path: Path
    bytes: int
    cost: Cost
    difference: Difference | None
    description: Description


def export(
    source: Path,
    out: Path,
    request: ExportRequest,
    pictures: Sequence[Pixels],
    reference: Engine | None = None,
) -> ExportReport:
    """Write a checkpoint as requested, run the file on images, and compare.

    The file appears at ``out`` only after the comparison has succeeded. AIR files are not
    compared, because only Ascend's own tools run them.

    Args:
        source: the checkpoint.
        pictures: the images to compare on.
        reference: the checkpoint, if it is loaded already.

    Raises:
        CheckpointError: ``source`` is not a complete checkpoint, or a weight is too large for
            float16.
        DeviceError: AIR is requested without Ascend.
        EngineError: the file's results are not the checkpoint's, or suppression is requested
            for MINDIR or AIR.
        MissingPackageError: a package for ONNX is not installed.
        RecipeError: the pyramid has fewer stacks than requested.
    """
    _check_possible(request)
    arrays, origin = checkpoint.load_weights(source)
    net = build_network(origin.recipe, origin.genome, len(origin.categories), stacks=request.stacks)
    checkpoint.restore(net, arrays, source)
    fold(net, origin.recipe.model.resolved_dialect().background, origin.recipe.box_code)
    if request.precision == "fp16":
        _check_fits_half(net, source)
    description = _describe(origin, request)
    check_detecting(origin.recipe, origin.genome, len(pictures), description.size)
    out.parent.mkdir(parents=True, exist_ok=True)
    if request.format != "air":
        reference = reference or open_checkpoint(source, request.stacks)[0]
    with atomic_write(out) as draft:
        _write(draft, net, origin, description)
        difference = None
        if request.suppressed and reference:
            about = replace(description, suppressed=False)
            with tempfile.TemporaryDirectory(dir=out.parent, prefix=".plain-") as folder:
                plain = Path(folder, out.name)
                _write(plain, net, origin, about)
                difference = compare(reference, plain, about, pictures)
                compare_suppressed(plain, draft, pictures)
        elif reference:
            difference = compare(reference, draft, description, pictures)
    size = out.stat().st_size
    return ExportReport(out, size, _cost(origin, request, description), difference, description)


def _check_possible(request: ExportRequest) -> None:
    if request.format == "onnx":
        require("onnx")
        require("onnxruntime")
    if request.format == "air":
        require_ascend()
    if request.suppressed and request.format != "onnx":
        raise EngineError(
            f"the format for suppression must be ONNX, got {request.format}: MindSpore has no "
            "operator for it that runs on both CPU and Ascend"
        )


def _check_fits_half(net: Network, source: Path) -> None:
    limit = np.finfo(np.float16).max
    for parameter in net.get_parameters():
        largest = float(np.abs(parameter.asnumpy()).max())
        if not largest <= limit:
            raise CheckpointError(
                f"weights for float16 must be at most {limit:.0f}, got {largest:.3g} in "
                f"{parameter.name} (at {source})"
            )


def _describe(origin: Origin, request: ExportRequest) -> Description:
    about = describe(origin.recipe, origin.genome, origin.categories)
    return replace(
        about,
        size=fit_size(request.size, about.stride) if request.size else about.size,
        fixed=not (request.dynamic and request.format == "onnx"),
        precision=request.precision,
        suppressed=request.suppressed,
        batch=None if request.dynamic else 1,
    )


def _write(path: Path, net: Network, origin: Origin, about: Description) -> None:
    recipe, code = origin.recipe, origin.recipe.box_code
    if path.suffix == ".onnx":
        # The input of one stride a side has the anchors of one location.
        anchors_by_level = [recipe.anchor_boxes((n,), (1 << n, 1 << n)) for n in about.levels]
        write_onnx(path, net, about, anchors_by_level, code)
        write_checksum(path, read_entries(path)[ENTRY])
        return
    anchors = recipe.anchor_boxes(about.levels, about.size)
    deployed = DeployedNetwork(net, anchors, code, half=about.precision == "fp16")
    if path.suffix == ".air":
        write_air(path, deployed, about)
        return
    write_mindir(path, deployed, about)
    write_checksum(path, read_entries(path)[ENTRY])


def _cost(origin: Origin, request: ExportRequest, about: Description) -> Cost:
    shape = origin.recipe.shape(len(origin.categories), origin.genome.levels)
    shape = replace(shape, image=about.size, stacks=request.stacks or shape.stacks)
    return detector_cost(origin.genome, shape)
