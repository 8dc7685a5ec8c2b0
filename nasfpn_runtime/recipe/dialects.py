"""Network numerics in which the public NAS-FPN implementations differ, as data.

These are what weights depend on: with the wrong ones a checkpoint's outputs change. What
training and detection depend on (anchors, box code, losses, ...) are sections of a recipe.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_space.shape import Layers


@dataclass(frozen=True)
class Dialect:
    """Numerics of one implementation; the compiled cells read nothing else.

    Attributes:
        layers: which layers the network has.
        backbone_padding: of strided convolutions: ``symmetric``, or ``same`` as TensorFlow
            means it (the odd pixel after).
        stem_pool: padding of the backbone's 3x3 max pool, likewise.
        gate: which input of an attention cell gates the other, ``coarser`` (the first on a
            tie) or ``finer`` (the second on a tie).
        gate_pool: over height and width, ``max`` or ``mean``, after resampling.
        norm_momentum: share of the old running statistics kept at a step.
        norm_epsilon: added to the variance in pyramid and heads.
        backbone_epsilon: added to the variance in the backbone.
        background: class 0 of the logits is a background.
        init: a key of ``init.INITS``.
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
# resnet,nn_ops}.py. Batch norm's constants are those of its successor, the Model Garden
# (official/vision/configs/common.py); recipes for weights of the former say so.
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
