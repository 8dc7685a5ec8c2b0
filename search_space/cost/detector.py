"""A whole detector as a sequence of steps, each of which makes one feature map.

The detector is a RetinaNet with the genome as its pyramid: a ResNet v1.5 or MobileNetV2, one
lateral per backbone level, stacks with separate weights, and two heads. ``shape.Layers``
lists the layers in which implementations differ.
"""

from __future__ import annotations

from search_space.cost.backbones import backbone_steps
from search_space.cost.steps import Step, StepBuilder
from search_space.errors import GenomeError
from search_space.genome import Genome, Level
from search_space.shape import BACKBONE_LEVELS, DetectorShape, Layers
from search_space.wiring import wire


def detector_steps(genome: Genome, shape: DetectorShape) -> tuple[Step, ...]:
    """Return the detector's steps in the order in which they run.

    The backbone ends at the coarsest level that the genome takes from it. A lateral (1x1
    convolution and batch norm) changes the channels of a level to those of the pyramid. A
    level above 5 is a max pool of the level below. The heads run level by level, classes
    before boxes.

    Raises:
        GenomeError: the genome's finest level is not a level of the backbone (2 to 5).
    """
    if genome.levels[0] not in BACKBONE_LEVELS:
        raise GenomeError(
            "the finest level must be a level of the backbone, 2 to 5",
            genome.levels[0],
            "levels[0]",
        )
    build = StepBuilder(shape.image)
    top = max(level for level in genome.levels if level in BACKBONE_LEVELS)
    backbone = backbone_steps(build, shape, top)
    maps = _laterals(build, genome, backbone, shape)
    for stack in range(shape.stacks):
        maps = _pyramid(build, genome, maps, f"stack{stack}", shape.layers)
    for level, source in maps.items():
        for head, width in (("class", shape.classes), ("box", 4)):
            shared = shape.layers.head_shared and level != genome.levels[0]
            _head(build, shape, f"{head}.{level.name}", source, level, width, shared)
    return tuple(build.steps.values())


def _laterals(
    build: StepBuilder, genome: Genome, backbone: dict[int, str], shape: DetectorShape
) -> dict[Level, str]:
    """Add the laterals and pools; return the pyramid's input map for each level."""
    layers, channels = shape.layers, shape.channels
    maps: dict[Level, str] = {}
    source, below = "", genome.levels[0]
    for level in genome.levels:
        name = f"lateral.{level.name}"
        if level not in backbone:
            if layers.coarse_conv:
                source = build.conv(f"{name}.project", source, below, channels, 1)
            source = build.add(name, "pool", (source,), level=level)
        elif layers.lateral_skip and build.steps[backbone[level]].channels == channels:
            source = backbone[level]
        else:
            bias = layers.lateral_bias
            source = build.conv(name, backbone[level], level, channels, 1, bias=bias)
        maps[level] = source
        below = level
    return maps


def _pyramid(
    build: StepBuilder, genome: Genome, inputs: dict[Level, str], stack: str, layers: Layers
) -> dict[Level, str]:
    """Add one stack; return its output map for each level."""
    maps, wiring = list(inputs.values()), wire(genome)
    for index, cell in enumerate(wiring.cells):
        name, reads = f"{stack}.cell{index}", []
        for slot, wired in enumerate(cell.inputs):
            source = maps[wired.node]
            if wired.level != cell.level:
                source = build.add(f"{name}.in{slot}", "resample", (source,), level=cell.level)
            reads.append(source)
        reads += [maps[node] for node in cell.leftovers]
        if len(reads) > 1:
            weights = len(cell.inputs) if cell.op == "weighted" else 0
            reads = [
                build.add(
                    f"{name}.merge", "merge", tuple(reads), level=cell.level, parameters=weights
                )
            ]
        source = reads[0]
        if cell.op != "identity":
            channels = build.steps[source].channels
            source = build.conv3(
                name,
                source,
                cell.level,
                channels,
                separable=layers.separable,
                bias=layers.cell_bias,
            )
        maps.append(source)
    return {level: maps[node] for level, node in zip(wiring.levels, wiring.outputs, strict=True)}


def _head(
    build: StepBuilder,
    shape: DetectorShape,
    name: str,
    source: str,
    level: int,
    width: int,
    shared: bool,
) -> None:
    """Add one head on one level.

    Args:
        width: how many numbers the head predicts per anchor.
        shared: the same head on an earlier level already has the convolutions' weights.
    """
    layers = shape.layers
    for index in range(shape.head_convs):
        channels = shape.head_channels or shape.channels
        conv = f"{name}.conv{index}"
        source = build.conv3(
            conv,
            source,
            level,
            channels,
            separable=layers.separable,
            bias=layers.head_bias,
            norm=layers.head_norm,
            shared=shared,
        )
    build.conv3(
        f"{name}.predict",
        source,
        level,
        width * shape.anchors,
        separable=layers.separable,
        bias=layers.predict_bias,
        norm=False,
        shared=shared,
        kept=True,
    )
