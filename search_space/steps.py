"""A whole detector as a sequence of steps, each making one feature map of known size.

The detector is RetinaNet with the genome as its pyramid: ResNet v1.5, one lateral per
backbone level, stacks with weights of their own, two heads. Implementations differ in some
layers, see ``shape.Layers``.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_space.genome import Genome, Level
from search_space.rules import GenomeError
from search_space.shape import BACKBONE_LEVELS, RESNETS, DetectorShape


@dataclass(frozen=True)
class Step:
    """One step of the detector on one picture; it makes one feature map.

    Attributes:
        name: of the step and its map: ``group2.0.conv1``, ``stack0.cell3``,
            ``class.p3.conv0``.
        kind: ``image``, ``conv`` (with the ReLU and batch norm before or after it),
            ``pool``, ``resample`` (an input brought to a cell's level) or ``merge`` (a
            residual sum; a cell's op with its leftovers).
        reads: names of the maps it reads.
        channels, height, width: of its map.
        parameters: trainable ones that no earlier step holds: the convolutions of the
            heads, shared over levels, count at the finest level.
        macs: multiply-adds of its convolution.
        kept: a result of the detector: its map lives to the end.
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    channels: int
    height: int
    width: int
    parameters: int = 0
    macs: int = 0
    kept: bool = False

    @property
    def bytes(self) -> int:
        """Size of its map in float32."""
        return 4 * self.channels * self.height * self.width


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
    build = _Steps(shape.image)
    top = max(level for level in genome.levels if level in BACKBONE_LEVELS)
    backbone = _backbone(build, shape, top)
    maps = _laterals(build, genome, backbone, shape)
    for stack in range(shape.stacks):
        maps = _pyramid(build, genome, maps, f"stack{stack}", shape.layers.cell_bias)
    for level, source in maps.items():
        for head, width in (("class", shape.classes), ("box", 4)):
            shared = shape.layers.head_shared and level != genome.levels[0]
            _head(build, shape, f"{head}.{level.name}", source, level, width, shared)
    return tuple(build.steps.values())


class _Steps:
    """The steps so far by name; each method adds one and returns its name."""

    def __init__(self, image: tuple[int, int]) -> None:
        self.image = image
        self.steps: dict[str, Step] = {}
        self.add("image", "image", (), level=0, channels=3)

    def add(
        self,
        name: str,
        kind: str,
        reads: tuple[str, ...],
        *,
        level: int,
        channels: int | None = None,
        parameters: int = 0,
        kernel: int = 0,
        kept: bool = False,
    ) -> str:
        """Add a step at ``level``; ``kernel``: weights of its convolution."""
        height, width = (-(-side >> level) for side in self.image)
        channels = channels or self.steps[reads[0]].channels
        macs = kernel * height * width
        step = Step(name, kind, reads, channels, height, width, parameters, macs, kept)
        self.steps[name] = step
        return name

    def conv(
        self,
        name: str,
        source: str,
        level: int,
        channels: int,
        side: int,
        *,
        bias: bool = False,
        norm: bool = True,
        shared: bool = False,
        kept: bool = False,
    ) -> str:
        """Add a ``side`` x ``side`` convolution; ``shared``: an earlier step holds its weights."""
        kernel = side * side * self.steps[source].channels * channels
        parameters = (0 if shared else kernel + bias * channels) + norm * 2 * channels
        return self.add(
            name,
            "conv",
            (source,),
            level=level,
            channels=channels,
            parameters=parameters,
            kernel=kernel,
            kept=kept,
        )


def _backbone(build: _Steps, shape: DetectorShape, top: int) -> dict[int, str]:
    """Return the map of each level from 2 to ``top``."""
    kind = RESNETS[shape.backbone]
    build.conv("stem", "image", 1, shape.width, 7)
    source = build.add("stem.pool", "pool", ("stem",), level=2)
    maps = {}
    for level, (group, blocks) in zip(BACKBONE_LEVELS, enumerate(kind.blocks), strict=True):
        if level > top:
            break
        for block in range(blocks):
            source = _residual_block(
                build,
                f"group{group}.{block}",
                source,
                (level - 1 if group and not block else level, level),
                shape.width << group,
                bottleneck=kind.bottleneck,
                project=not block,
            )
        maps[level] = source
    return maps


def _residual_block(
    build: _Steps,
    name: str,
    source: str,
    levels: tuple[int, int],
    width: int,
    *,
    bottleneck: bool,
    project: bool,
) -> str:
    """Add a block from the first of ``levels`` to the second."""
    before, level = levels
    out = 4 * width if bottleneck else width
    # (level, channels, side); v1.5 strides in the 3x3 convolution of a bottleneck.
    convs = (
        ((before, width, 1), (level, width, 3), (level, out, 1))
        if bottleneck
        else ((level, width, 3), (level, width, 3))
    )
    inner = source
    for index, (at, channels, side) in enumerate(convs):
        inner = build.conv(f"{name}.conv{index}", inner, at, channels, side)
    if project:
        source = build.conv(f"{name}.shortcut", source, level, out, 1)
    return build.add(name, "merge", (inner, source), level=level)


def _laterals(
    build: _Steps, genome: Genome, backbone: dict[int, str], shape: DetectorShape
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
    build: _Steps, genome: Genome, inputs: dict[Level, str], stack: str, bias: bool
) -> dict[Level, str]:
    """Return the output map of each level of one stack."""
    maps, levels, leftovers = list(inputs.values()), genome.node_levels, genome.leftovers()
    for index, cell in enumerate(genome.cells):
        name, reads = f"{stack}.cell{index}", []
        for slot, node in enumerate(cell.inputs):
            source = maps[node]
            if levels[node] != cell.level:
                source = build.add(f"{name}.in{slot}", "resample", (source,), level=cell.level)
            reads.append(source)
        reads += [maps[node] for node in leftovers.get(len(genome.levels) + index, ())]
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
            source = build.conv(name, source, cell.level, channels, 3, bias=bias)
        maps.append(source)
    return {level: maps[node] for level, node in genome.outputs.items()}


def _head(
    build: _Steps,
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
        source = build.conv(
            conv,
            source,
            level,
            channels,
            3,
            bias=layers.head_bias,
            norm=layers.head_norm,
            shared=shared,
        )
    build.conv(
        f"{name}.predict",
        source,
        level,
        width * shape.anchors,
        3,
        bias=layers.predict_bias,
        norm=False,
        shared=shared,
        kept=True,
    )
