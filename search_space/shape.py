"""The sizes of a detector: everything besides the genome that its cost depends on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

from search_space.errors import value_text
from search_space.rules import as_int

# Largest size of each kind: far beyond any published detector, and quickly counted.
MOST = {
    "width": 4096,
    "channels": 8192,
    "stacks": 100,
    "head_convs": 50,
    "head_channels": 8192,
    "classes": 200_000,
    "anchors": 2000,
    "image": 16_384,
}
BACKBONE_LEVELS = range(2, 6)  # levels a backbone supplies; coarser levels are pooled


class ResNetKind(NamedTuple):
    """Number of residual blocks in each of the four groups, and whether they are bottlenecks."""

    blocks: tuple[int, int, int, int]
    bottleneck: bool


# He et al. 2016, table 1; resnet10 after tensorflow/tpu ``resnet.py``.
RESNETS: dict[str, ResNetKind] = {
    "resnet10": ResNetKind((1, 1, 1, 1), bottleneck=False),
    "resnet18": ResNetKind((2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNetKind((3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNetKind((3, 4, 6, 3), bottleneck=True),
    "resnet101": ResNetKind((3, 4, 23, 3), bottleneck=True),
}


class Residuals(NamedTuple):
    """A series of inverted residual blocks.

    The inside of a block has ``expansion`` times the channels of its input.
    """

    expansion: int
    channels: int
    repeats: int


# Level of the output -> blocks, for a stem of 32 channels (Sandler et al. 2018, table 2). The
# last convolution has 256 channels, as for FPN-Lite in TF's Object Detection API
# (``ssd_mobilenet_v2_fpn_feature_extractor.py``), instead of the classifier's 1280.
MOBILENETV2: dict[int, tuple[Residuals, ...]] = {
    1: (Residuals(1, 16, 1),),
    2: (Residuals(6, 24, 2),),
    3: (Residuals(6, 32, 3),),
    4: (Residuals(6, 64, 4), Residuals(6, 96, 3)),
    5: (Residuals(6, 160, 3), Residuals(6, 320, 1)),
}
MOBILENETV2_STEM, MOBILENETV2_LAST = 32, 256

BACKBONES = (*RESNETS, "mobilenetv2")


def mobilenet_channels(channels: int, width: int) -> int:
    """Return the channels of a MobileNetV2 layer when the stem has ``width`` channels.

    Args:
        channels: channels of the layer in the published network, whose stem has 32.
        width: channels of the stem.

    Returns:
        ``channels`` scaled by ``width / 32`` and rounded to the nearest multiple of 8
        that is at least 90% of it (slim ``mobilenet.py``, ``_make_divisible``).
    """
    exact = channels * width / MOBILENETV2_STEM
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * exact else rounded + 8


@dataclass(frozen=True)
class Layers:
    """The layers in which implementations differ; the defaults are those of TensorFlow.

    Attributes:
        lateral_bias: laterals have a bias before batch norm.
        lateral_skip: a level has no lateral if its backbone map already has the
            pyramid's channels.
        coarse_conv: a level above the backbone is made from the level below by a 1x1
            convolution without bias, batch norm and a pool; if false, by the pool alone.
        cell_bias: convolutions of cells have a bias before batch norm.
        head_shared: each head uses the same convolutions on all levels.
        head_bias: convolutions of the heads have a bias.
        head_norm: convolutions of the heads have a batch norm.
        predict_bias: the last convolution of each head, which predicts, has a bias.
        separable: each 3x3 convolution of cells and heads is split into a depthwise one,
            without bias or batch norm, and a pointwise one (paper, NAS-FPNLite; TF's
            ``separable_conv2d`` in tensorflow/tpu ``nasfpn.py`` and ``heads.py`` and in
            the Object Detection API's ``convolutional_box_predictor.py``). Laterals stay
            1x1, as in the Object Detection API.
    """

    lateral_bias: bool = True
    lateral_skip: bool = True
    coarse_conv: bool = False
    cell_bias: bool = True
    head_shared: bool = True
    head_bias: bool = True
    head_norm: bool = True
    predict_bias: bool = True
    separable: bool = False


@dataclass(frozen=True)
class DetectorShape:
    """Everything besides the genome that a detector's cost depends on.

    Attributes:
        backbone: one of ``BACKBONES``.
        width: channels of the stem. A ResNet as published has 64; its four groups have
            1, 2, 4 and 8 times as many, and bottlenecks output 4 times those. The
            published ``mobilenetv2`` has 32; its other layers scale with the stem
            (:func:`mobilenet_channels`).
        channels: channels of the pyramid.
        stacks: number of pyramids in a row.
        head_convs: number of 3x3 convolutions in each head before the predicting one.
        head_channels: channels of the ``head_convs``; by default ``channels``.
        classes: scores per anchor (91 for COCO in TensorFlow, background included).
        anchors: anchors per feature map pixel.
        image: height and width of the input image in pixels.
        layers: the layers in which implementations differ.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    backbone: str = "resnet50"
    width: int = 64
    channels: int = 256
    stacks: int = 7
    head_convs: int = 4
    head_channels: int | None = None
    classes: int = 91
    anchors: int = 9
    image: tuple[int, int] = (640, 640)
    layers: Layers = Layers()

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            known = ", ".join(BACKBONES)
            raise ValueError(f"backbone must be one of {known}, got {self.backbone!r}")
        if self.head_channels is None:
            object.__setattr__(self, "head_channels", self.channels)
        object.__setattr__(self, "image", tuple(self.image))
        if len(self.image) != 2:
            raise ValueError(f"image must be (height, width), got {self.image!r}")
        for field in fields(self)[1:-1]:
            value = getattr(self, field.name)
            least, most = 0 if field.name == "head_convs" else 1, MOST[field.name]
            numbers = [as_int(v) for v in (value if field.name == "image" else (value,))]
            if any(number is None or not least <= number <= most for number in numbers):
                raise ValueError(
                    f"{field.name} must be {least} or more, at most {most:,}, "
                    f"got {value_text(value)}"
                )
            plain = tuple(numbers) if field.name == "image" else numbers[0]
            object.__setattr__(self, field.name, plain)
