"""The sizes of a detector: all that its cost depends on besides the genome."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

from search_space.rules import is_int

BACKBONE_LEVELS = range(2, 6)  # levels a backbone supplies; coarser ones are pooled


class ResNetKind(NamedTuple):
    """Residual blocks in each of the four groups, and whether they are bottlenecks."""

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
    """A run of inverted residual blocks; the width between is ``expansion`` times the input's."""

    expansion: int
    channels: int
    repeats: int


# Sandler et al. 2018, table 2, by the level of the result, with its stem of 32 channels. The
# last convolution is not the classifier's of 1280 channels but one of 256, as for FPN-Lite in
# TF's Object Detection API (``ssd_mobilenet_v2_fpn_feature_extractor.py``).
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
    """Return the channels of a MobileNetV2 whose stem has ``width``: a multiple of 8.

    The nearest one that is no less than 90% (slim ``mobilenet.py``, ``_make_divisible``).
    """
    exact = channels * width / MOBILENETV2_STEM
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * exact else rounded + 8


@dataclass(frozen=True)
class Layers:
    """Which layers a detector has where implementations differ; the defaults are TF's.

    Attributes:
        lateral_bias: laterals have a bias before batch norm.
        lateral_skip: no lateral where the backbone already has the channels.
        coarse_conv: levels above the backbone's come from a 1x1 convolution without bias,
            batch norm and a pool of the level below; from the pool alone otherwise.
        cell_bias: cell convolutions have a bias before batch norm.
        head_shared: heads share their convolutions over levels.
        head_bias, head_norm: convolutions of the heads have a bias, and a batch norm.
        predict_bias: the predicting convolutions have a bias.
        separable: the 3x3 convolutions of cells and heads are depthwise, without bias or
            batch norm, and then pointwise (paper, NAS-FPNLite; TF's ``separable_conv2d``
            of tensorflow/tpu ``nasfpn.py`` and ``heads.py`` and of the Object Detection
            API's ``convolutional_box_predictor.py``). Laterals stay 1x1, as in the latter.
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
    """All that a detector's cost depends on besides its genome.

    Attributes:
        backbone: a name of ``BACKBONES``.
        width: channels of the stem. Of a ResNet 64 as published; the four groups have 1, 2,
            4 and 8 times as many, bottlenecks put out 4 times that. Of ``mobilenetv2`` 32;
            all else is in proportion (:func:`mobilenet_channels`).
        channels: of the pyramid.
        stacks: how often the pyramid repeats.
        head_convs: 3x3 convolutions of each head before the predicting one.
        head_channels: of these; by default those of the pyramid.
        classes: scores per anchor (91 for COCO in tf, background included).
        anchors: per place of a feature map.
        image: height and width in pixels.
        layers: which layers there are.

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
            raise ValueError(f"backbone is one of {', '.join(BACKBONES)}, got {self.backbone!r}")
        if self.head_channels is None:
            object.__setattr__(self, "head_channels", self.channels)
        object.__setattr__(self, "image", tuple(self.image))
        if len(self.image) != 2:
            raise ValueError(f"image is (height, width), got {self.image!r}")
        for field in fields(self)[1:-1]:
            value = getattr(self, field.name)
            least = 0 if field.name == "head_convs" else 1
            for part in value if field.name == "image" else (value,):
                if not is_int(part) or part < least:
                    raise ValueError(f"{field.name} is {least} or more, got {value!r}")
