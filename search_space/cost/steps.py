"""The steps of a detector, and the builder that adds them one by one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step of the detector on one image; it makes one feature map.

    Attributes:
        name: name of the step and of its map, such as ``group2.0.conv1``,
            ``stack0.cell3`` or ``class.p3.conv0``.
        kind: ``image``, ``conv`` (with the ReLU and batch norm before or after it),
            ``pool``, ``resample`` (of a cell's input to the cell's level) or ``merge`` (a
            residual sum, or a cell's op with its leftovers).
        reads: names of the maps that it reads.
        channels: channels of its map.
        height: height of its map in pixels.
        width: width of its map in pixels.
        parameters: number of trainable parameters that no earlier step has. Convolutions
            of a head that all levels share count at the finest level.
        macs: multiply-adds of its convolution.
        kept: whether its map is a result of the detector and lives to the end.
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
        """Size of its map in bytes, in float32."""
        return 4 * self.channels * self.height * self.width


class StepBuilder:
    """Collects the steps of a detector; each method adds to them and returns the last name.

    Attributes:
        image: height and width of the detector's input image in pixels.
        steps: the steps so far, by name.
    """

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
        """Add a step whose map is on ``level``.

        Args:
            channels: channels of the map; by default those of the first map it reads.
            kernel: number of weights in the kernel of its convolution, 0 if it has none.
        """
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
        """Add a convolution.

        Args:
            side: side of the square kernel.
            groups: number of groups of a grouped convolution.
            bias: the convolution has a bias.
            norm: a batch norm follows.
            shared: an earlier step already has the weights and the bias.
        """
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
        """Add a 3x3 convolution of a cell or head; two steps if it is ``separable``."""
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
