"""Dialects: the network numerics in which the public NAS-FPN implementations differ, as data.

Weights are tied to their dialect: with another one, the outputs of a checkpoint change. The
differences in training and detection (anchors, box code, losses, ...) are settings of a recipe.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_space.shape import Layers


@dataclass(frozen=True)
class Dialect:
    """Numerics of one implementation.

    Attributes:
        layers: which layers the network has.
        backbone_padding: padding of the backbone's strided convolutions: ``symmetric``, or
            ``same`` as in TensorFlow (an odd pixel goes to the bottom and right).
        stem_pool: padding of the backbone's 3x3 max pool: ``symmetric`` or ``same``.
        gate: which input of an attention cell gates the other: the ``coarser`` (on a tie the
            first) or the ``finer`` (on a tie the second).
        gate_pool: how the gate is pooled over height and width after resampling: ``max`` or
            ``mean``.
        norm_momentum: fraction of the old running statistics that batch norm keeps at each step.
        norm_epsilon: added to the variance by batch norm in pyramid and heads.
        backbone_epsilon: added to the variance by batch norm in the backbone.
        background: class 0 of the logits is a background class.
        init: how weights are initialised, a key of ``init.INITS``.
    """

    layers: Layers
    backbone_padding: str
    stem_pool: str
    gate: str
    gate_pool: str
    norm_momentum: float
    norm_epsilon: float
    backbone_epsilon: float
    background: bool
    init: str


# tensorflow/tpu models/official/detection at 7dc921f, modeling/architecture/{nasfpn,heads,
# resnet,nn_ops}.py. The constants of batch norm are those of its successor, the Model Garden
# (official/vision/configs/common.py); recipes for tensorflow/tpu's weights override them.
TF = Dialect(
    layers=Layers(),
    backbone_padding="symmetric",
    stem_pool="same",
    gate="coarser",
    gate_pool="max",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
    backbone_epsilon=1e-3,
    background=True,
    init="tf",
)

# mmdetection 3.3.0: models/necks/nas_fpn.py, models/dense_heads/retina_sepbn_head.py,
# configs/nas_fpn; mmcv 2.1.0 ops/merge_cells.py.
MMDET = Dialect(
    layers=Layers(
        lateral_bias=False,
        lateral_skip=False,
        coarse_conv=True,
        head_bias=False,
    ),
    backbone_padding="symmetric",
    stem_pool="symmetric",
    gate="finer",
    gate_pool="mean",
    norm_momentum=0.9,
    norm_epsilon=1e-5,
    backbone_epsilon=1e-5,
    background=False,
    init="mmdet",
)

# MindSpore models at eab643f, research/cv/nas-fpn/src/{resnet,nasfpn,merge_cells,retinahead,
# init_params}.py.
MODELZOO = Dialect(
    layers=Layers(
        lateral_bias=False,
        lateral_skip=False,
        coarse_conv=True,
        cell_bias=False,
        head_shared=False,
        head_bias=False,
        head_norm=False,
        predict_bias=False,
    ),
    backbone_padding="same",
    stem_pool="same",
    gate="finer",
    gate_pool="mean",
    norm_momentum=0.997,
    norm_epsilon=1e-5,
    backbone_epsilon=1e-3,
    background=True,
    init="modelzoo",
)

DIALECTS = {"tf": TF, "mmdet": MMDET, "modelzoo": MODELZOO}
