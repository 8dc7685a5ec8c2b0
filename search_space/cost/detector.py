"""A whole detector as a sequence of steps, each making one feature map of known size.

The detector is RetinaNet with the genome as its pyramid: ResNet v1.5 or MobileNetV2, one
lateral per backbone level, stacks with weights of their own, two heads. Implementations
differ in some layers, see ``shape.Layers``.
"""

from __future__ import annotations

from search_space.cost.backbones import backbone_steps
from search_space.cost.steps import Step, Steps
from search_space.errors import GenomeError
from search_space.genome import Genome, Level
from search_space.shape import BACKBONE_LEVELS, DetectorShape, Layers
from search_space.wiring import wire


def detector_steps(genome: Genome, shape: DetectorShape) -> tuple[Step, ...]:
    """Return the detector's steps in the order in which they run.

    The backbone runs up to the coarsest level that the genome takes from it. A lateral
    (1x1 convolution, batch norm) brings a level to the pyramid's channels; a level above 5
    is a max pool of the level below. The heads run level by level, classes before boxes.

    Raises:
        GenomeError: the genome's finest level is none of the backbone's (2 to 5).
    """
    if genome.levels[0] not in BACKBONE_LEVELS:
        raise GenomeError(
            "the finest level is one of the backbone's, 2 to 5", genome.levels[0], "levels[0]"
        )
    build = Steps(shape.image)
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
    build: Steps, genome: Genome, backbone: dict[int, str], shape: DetectorShape
) -> dict[Level, str]:
    """Return the pyramid's input map of each of its levels."""
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
    build: Steps, genome: Genome, inputs: dict[Level, str], stack: str, layers: Layers
) -> dict[Level, str]:
    """Return the output map of each level of one stack."""
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
    build: Steps,
    shape: DetectorShape,
    name: str,
    source: str,
    level: int,
    width: int,
    shared: bool,
) -> None:
    """Add one head on one level; it predicts ``width`` numbers per anchor."""
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
