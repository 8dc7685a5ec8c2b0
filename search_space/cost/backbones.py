"""The steps of the backbones: ResNet v1.5 and MobileNetV2."""

from __future__ import annotations

from search_space.cost.steps import StepBuilder
from search_space.shape import (
    BACKBONE_LEVELS,
    MOBILENETV2,
    MOBILENETV2_LAST,
    RESNETS,
    DetectorShape,
    mobilenet_channels,
)


def backbone_steps(build: StepBuilder, shape: DetectorShape, top: int) -> dict[int, str]:
    """Add the backbone up to level ``top``.

    Returns:
        The name of the step that makes each level's map, from level 2 (ResNet) or 1
        (MobileNetV2) to ``top``.
    """
    if shape.backbone in RESNETS:
        return _resnet(build, shape, top)
    return _mobilenetv2(build, shape, top)


def _resnet(build: StepBuilder, shape: DetectorShape, top: int) -> dict[int, str]:
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
    build: StepBuilder,
    name: str,
    source: str,
    levels: tuple[int, int],
    width: int,
    *,
    bottleneck: bool,
    project: bool,
) -> str:
    """Add a block that goes from the first of ``levels`` to the second; return its name."""
    before, level = levels
    out = 4 * width if bottleneck else width
    # (level, channels, kernel side). In v1.5 the 3x3 convolution of a bottleneck has the stride.
    convs = (
        ((before, width, 1), (level, width, 3), (level, out, 1))
        if bottleneck
        else ((level, width, 3), (level, width, 3))
    )
    inner = source
    for index, (conv_level, channels, side) in enumerate(convs):
        inner = build.conv(f"{name}.conv{index}", inner, conv_level, channels, side)
    if project:
        source = build.conv(f"{name}.shortcut", source, level, out, 1)
    return build.add(name, "merge", (inner, source), level=level)


def _mobilenetv2(build: StepBuilder, shape: DetectorShape, top: int) -> dict[int, str]:
    source = build.conv("stem", "image", 1, shape.width, 3)
    maps = {}
    for level in range(1, top + 1):
        block, before = 0, max(1, level - 1)
        for expansion, channels, repeats in MOBILENETV2[level]:
            out = mobilenet_channels(channels, shape.width)
            for _ in range(repeats):
                name = f"group{level - 1}.{block}"
                source = _inverted_residual(build, name, source, (before, level), expansion, out)
                block, before = block + 1, level
        maps[level] = source
    if top == BACKBONE_LEVELS[-1]:
        last = mobilenet_channels(MOBILENETV2_LAST, shape.width)
        maps[top] = build.conv("last", source, top, last, 1)
    return maps


def _inverted_residual(
    build: StepBuilder, name: str, source: str, levels: tuple[int, int], expansion: int, out: int
) -> str:
    """Add a block that goes from the first of ``levels`` to the second; return its name."""
    before, level = levels
    channels = build.steps[source].channels
    inner, width = source, expansion * channels
    if expansion > 1:
        inner = build.conv(f"{name}.expand", inner, before, width, 1)
    inner = build.conv(f"{name}.depthwise", inner, level, width, 3, groups=width)
    inner = build.conv(f"{name}.project", inner, level, out, 1)
    if before != level or channels != out:
        return inner
    return build.add(name, "merge", (inner, source), level=level)
