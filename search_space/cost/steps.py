"""Steps of a detector, and how they are added one by one."""

from __future__ import annotations

from dataclasses import dataclass


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


class Steps:
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
        groups: int = 1,
        bias: bool = False,
        norm: bool = True,
        shared: bool = False,
        kept: bool = False,
    ) -> str:
        """Add a ``side`` x ``side`` convolution; ``shared``: an earlier step holds its weights."""
        kernel = side * side * self.steps[source].channels * channels // groups
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

    def conv3(
        self,
        name: str,
        source: str,
        level: int,
        channels: int,
        *,
        separable: bool,
        bias: bool,
        norm: bool = True,
        shared: bool = False,
        kept: bool = False,
    ) -> str:
        """Add a 3x3 convolution of a cell or head, two steps where it is ``separable``."""
        side = 3
        if separable:
            inner, side = self.steps[source].channels, 1
            source = self.conv(
                f"{name}.depthwise",
                source,
                level,
                inner,
                3,
                groups=inner,
                norm=False,
                shared=shared,
            )
        return self.conv(
            name, source, level, channels, side, bias=bias, norm=norm, shared=shared, kept=kept
        )
