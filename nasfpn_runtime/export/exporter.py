"""Export a checkpoint, run what was written, and compare."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mindspore
import numpy as np

from nasfpn_runtime.errors import CheckpointError, DeviceError, EngineError
from nasfpn_runtime.export.compare import Difference, compare, compare_suppressed
from nasfpn_runtime.export.deployed import Deployed
from nasfpn_runtime.export.fold import fold
from nasfpn_runtime.export.mindir import write_air, write_mindir
from nasfpn_runtime.export.onnx_file import write_onnx
from nasfpn_runtime.extras import require
from nasfpn_runtime.inference.description import Description, describe
from nasfpn_runtime.inference.engines.base import Engine
from nasfpn_runtime.inference.engines.mindspore import open_checkpoint
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.build import build_network
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.pictures.image import Pixels, fit_size
from search_space.cost.cost import Cost, detector_cost


@dataclass(frozen=True)
class Request:
    """What to export a checkpoint as.

    Attributes:
        form: ``onnx``, ``mindir`` or ``air``.
        precision: ``fp32`` or ``fp16``, of weights and convolutions.
        suppressed: the file gives detections and not boxes and scores; ONNX only.
        dynamic: it takes any number of pictures, and an ONNX file any sides that are
            multiples of the coarsest stride; otherwise one picture of ``size``.
        size: (height, width) of the input, rounded up to the coarsest stride; None for the
            recipe's.
        stacks: of the pyramid, cut after so many; None for all.
    """

    form: str
    precision: str = "fp32"
    suppressed: bool = False
    dynamic: bool = False
    size: tuple[int, int] | None = None
    stacks: int | None = None


@dataclass(frozen=True)
class Report:
    """What was written, and how far it is from the checkpoint it was made of."""

    path: Path
    bytes: int
    cost: Cost
    difference: Difference | None
    description: Description


def export(
    source: Path,
    out: Path,
    wanted: Request,
    pictures: Sequence[Pixels],
    reference: Engine | None = None,
) -> Report:
    """Write a checkpoint as ``wanted``, run the file on pictures and compare.

    The file appears when it has been compared, or not at all. AIR cannot be run here.

    Args:
        reference: the checkpoint, where it is loaded already.

    Raises:
        CheckpointError: the source is no whole checkpoint, or float16 cannot hold a weight.
        DeviceError: AIR without Ascend.
        EngineError: the file's results are not the checkpoint's, its runtime is missing, or
            MINDIR or AIR is wanted with suppression.
        RecipeError: there are fewer stacks.
    """
    _check_possible(wanted)
    arrays, origin = checkpoint.load_weights(source)
    net = build_network(origin.recipe, origin.genome, len(origin.categories), stacks=wanted.stacks)
    checkpoint.restore(net, arrays, source)
    fold(net, origin.recipe.model.resolved_dialect().background, origin.recipe.box_code)
    if wanted.precision == "fp16":
        _check_half(net, source)
    description = _described(origin, wanted)
    out.parent.mkdir(parents=True, exist_ok=True)
    if wanted.form != "air":
        reference = reference or open_checkpoint(source, wanted.stacks)[0]
    draft, plain = (out.with_name(f".{out.stem}.{part}{out.suffix}") for part in ("tmp", "plain"))
    try:
        _write(draft, net, origin, description)
        difference = None
        if wanted.suppressed and reference:
            about = replace(description, suppressed=False)
            _write(plain, net, origin, about)
            difference = compare(reference, plain, about, pictures)
            compare_suppressed(plain, draft, pictures)
        elif reference:
            difference = compare(reference, draft, description, pictures)
        os.replace(draft, out)
    finally:
        draft.unlink(missing_ok=True)
        plain.unlink(missing_ok=True)
    size = out.stat().st_size
    return Report(out, size, _cost(origin, wanted, description), difference, description)


def _check_possible(wanted: Request) -> None:
    if wanted.form == "onnx":
        require("onnx")
        require("onnxruntime")
    device = mindspore.get_context("device_target")
    if wanted.form == "air" and device != "Ascend":
        raise DeviceError(f"AIR is written on Ascend only (--device Ascend), got {device}")
    if wanted.suppressed and wanted.form != "onnx":
        raise EngineError(
            f"suppression is exported to ONNX only, got {wanted.form}: MindSpore has no operator "
            "for it on both CPU and Ascend"
        )


def _check_half(net: Network, source: Path) -> None:
    most = np.finfo(np.float16).max
    for parameter in net.get_parameters():
        largest = float(np.abs(parameter.asnumpy()).max())
        if not largest <= most:
            raise CheckpointError(
                f"float16 holds weights up to {most:.0f}, got {largest:.3g} in {parameter.name} "
                f"(at {source})"
            )


def _described(origin: Origin, wanted: Request) -> Description:
    about = describe(origin.recipe, origin.genome, origin.categories)
    return replace(
        about,
        size=fit_size(wanted.size, about.stride) if wanted.size else about.size,
        fixed=not (wanted.dynamic and wanted.form == "onnx"),
        precision=wanted.precision,
        suppressed=wanted.suppressed,
        batch=None if wanted.dynamic else 1,
    )


def _write(path: Path, net: Network, origin: Origin, about: Description) -> None:
    recipe, code = origin.recipe, origin.recipe.box_code
    if path.suffix == ".onnx":
        corners = [recipe.anchor_boxes((n,), (1 << n, 1 << n)) for n in about.levels]
        write_onnx(path, net, about, corners, code)
        return
    anchors = recipe.anchor_boxes(about.levels, about.size)
    deployed = Deployed(net, anchors, code, half=about.precision == "fp16")
    write = write_mindir if path.suffix == ".mindir" else write_air
    write(path, deployed, about)


def _cost(origin: Origin, wanted: Request, about: Description) -> Cost:
    shape = origin.recipe.shape(len(origin.categories), origin.genome.levels)
    shape = replace(shape, image=about.size, stacks=wanted.stacks or shape.stacks)
    return detector_cost(origin.genome, shape)
