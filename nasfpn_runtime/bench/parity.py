"""Compare exported files with their checkpoints.

All formats and engines are covered, with several pyramids and sizes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mindspore import Tensor
from numpy.typing import NDArray

import searched_archs
from nasfpn_runtime.data.drawn import draw_picture
from nasfpn_runtime.export.compare import Difference, compare
from nasfpn_runtime.export.exporter import ExportRequest, export
from nasfpn_runtime.inference.engines.mindspore import open_checkpoint
from nasfpn_runtime.inference.engines.registry import ENGINES
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.build import build_network
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.pictures.image import Pixels
from nasfpn_runtime.recipe.recipe import Recipe
from search_space import NASFPNSpace
from search_space.genome import Genome

Size = tuple[int, int]
SIZES: tuple[Size, ...] = ((640, 640), (512, 768), (333, 500))
FILES = (("mindir", "fp32"), ("onnx", "fp32"), ("mindir", "fp16"), ("onnx", "fp16"))
EXCLUDED = ("mindspore_lite",)  # engines that need a special device
CATEGORIES = 3
DEVIATIONS = (2.0, 0.3)  # standard deviations of logits, and of offsets in sides of the anchor


@dataclass(frozen=True)
class ParityRow:
    """The comparison of one file in one engine.

    Attributes:
        genome: name of the genome; see :func:`genomes`.
        size: (height, width) of the input, rounded up to multiples of the stride.
        format: ``mindir`` or ``onnx``.
        precision: ``fp32`` or ``fp16``.
        engine: name of the engine.
        difference: largest differences from the checkpoint.
    """

    genome: str
    size: Size
    format: str
    precision: str
    engine: str
    difference: Difference


def parity(
    folder: Path, recipe: Recipe, sizes: Sequence[Size] = SIZES, names: Sequence[str] = ()
) -> Iterator[ParityRow]:
    """Yield the differences of every file from the checkpoint that it is made from.

    Weights are random, and scores spread from 0 to 1.

    Args:
        folder: folder to write the files to.
        recipe: of the networks.
        sizes: (height, width) of the inputs.
        names: which of :func:`genomes` to use; all by default.

    Raises:
        EngineError: a difference is larger than allowed.
        MissingPackageError: the package of an engine is not installed.
    """
    for name, genome in genomes().items():
        if names and name not in names:
            continue
        source = folder / f"{name}.ckpt"
        write_random(source, recipe, genome)
        reference = open_checkpoint(source)[0]
        for size in sizes:
            for format, precision in FILES:
                request = ExportRequest(format, precision, size=size)
                path = folder / f"{name}-{size[0]}x{size[1]}-{precision}.{format}"
                report = export(source, path, request, pictures(), reference)
                about, known = report.description, report.difference
                for engine in ENGINES[path.suffix]:
                    if engine in EXCLUDED:
                        continue
                    difference = known or compare(reference, path, about, pictures(), engine)
                    known = None  # it is that of the first engine only
                    yield ParityRow(name, about.size, format, precision, engine, difference)


def genomes() -> dict[str, Genome]:
    """Return the published genome, a random one, and that of the plain pyramid."""
    return {
        "nasfpn": searched_archs.load("nasfpn"),
        "random": NASFPNSpace().sample(np.random.default_rng(0)),
        "fpn": searched_archs.load("fpn"),
    }


def pictures() -> list[Pixels]:
    """Return two drawn images of different sizes."""
    rng = np.random.default_rng(0)
    return [draw_picture(side, rng)[0] for side in (200, 320)]


def write_random(path: Path, recipe: Recipe, genome: Genome) -> None:
    """Write a checkpoint with random weights, including the statistics of batch norm."""
    names = tuple(f"class{i}" for i in range(CATEGORIES))
    net = build_network(recipe, genome, len(names))
    spread(net, 1 << max(genome.levels))
    checkpoint.save(path, net, checkpoint.Origin(recipe, genome, names, seed=0, epoch=0))


def spread(net: Network, stride: int) -> None:
    """Set random weights with which scores spread from 0 to 1 and boxes are near their anchors.

    The last layers are scaled to give ``DEVIATIONS`` for an image of noise, ``stride`` px wide and
    high.
    """
    rng = np.random.default_rng(0)
    for parameter in net.get_parameters():
        value = _random(parameter.name.rsplit(".", 1)[-1], tuple(parameter.shape), rng)
        parameter.set_data(Tensor(value.astype(np.float32)))
    net.set_train(False)
    outputs = net(Tensor(rng.standard_normal((1, 3, stride, stride)).astype(np.float32)))
    for tower, output, deviation in zip(("classes", "boxes"), outputs, DEVIATIONS, strict=True):
        gain = np.float32(deviation / output.asnumpy().std())
        for parameter in net.head.get_parameters():
            if re.fullmatch(rf"head\.{tower}\.(\d\.)?predict\.(pointwise\.)?\w+", parameter.name):
                parameter.set_data(parameter * gain)


def _random(leaf: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    value: NDArray[np.float64] = rng.standard_normal(shape)
    if len(shape) > 1:
        value /= np.sqrt(np.prod(shape[1:]))
    elif leaf in ("beta", "bias", "moving_mean"):
        value *= 0.1
    else:
        value = rng.uniform(0.5, 1.5, shape)
    return value
