"""How each public implementation spells the parameters of a detector, as tables.

mmdet: mmdetection 3.3.0 (``models/necks/nas_fpn.py``, ``models/dense_heads/
retina_sepbn_head.py``, torchvision's ResNet). modelzoo: MindSpore models at eab643f,
``research/cv/nas-fpn``. tf: tensorflow/tpu at 7dc921f, ``models/official/detection/modeling/
architecture`` (names read off its own graph). torchvision 0.x ``models/resnet.py``; mindcv
``models/resnet.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nasfpn_runtime.importers.parameters import ParameterPath

# Merging cells of the published genome with a convolution, in its order. mmdetection has
# two more modules without one (gp_43_5, gp_54_7); the model zoo numbers all nine.
MMDET_CELLS = ("gp_64_4", "sum_44_4", "sum_43_3", "sum_34_4", "sum_55_5", "sum_77_7", "gp_75_6")
MODELZOO_CELLS = (0, 1, 2, 3, 5, 7, 8)
MMDET_LEVELS = 5

TORCH = {
    "weight": ".weight",
    "bias": ".bias",
    "gamma": ".weight",
    "beta": ".bias",
    "moving_mean": ".running_mean",
    "moving_variance": ".running_var",
}
MINDSPORE = {leaf: f".{leaf}" for leaf in TORCH}
TENSORFLOW = {leaf: f"/{leaf}" for leaf in TORCH} | {"weight": "/kernel"}


@dataclass(frozen=True)
class Spelling:
    """One way to write names.

    Attributes:
        modules: templates by kind of place (see ``ParameterPath``); several are spellings of the
            same tensor. ``{cell_name}`` is what ``cells`` gives for the cell.
        leaves: ends of names by our leaf.
        towers: words for the class and the box tower.
        cells: names of the merging cells; a cell beyond them has its number.
    """

    modules: Mapping[str, tuple[str, ...]]
    leaves: Mapping[str, str]
    towers: Mapping[str, str]
    cells: tuple[str | int, ...] = ()

    def names(self, place: ParameterPath) -> Iterator[str]:
        """Yield the spellings of a parameter's name."""
        fields = dict(place.fields)
        if "tower" in fields:
            fields["tower"] = self.towers.get(str(fields["tower"]), "")
        cell = int(fields.get("cell", 0))
        fields["cell_name"] = self.cells[cell] if cell < len(self.cells) else cell
        for template in self.modules.get(place.kind, ()):
            yield template.format(**fields) + self.leaves[place.leaf]


@dataclass(frozen=True)
class Source:
    """One publisher of checkpoints.

    Attributes:
        spellings: the ways its files spell names, the usual one first.
        recipe: whose detector the weights fit; None for backbones.
        ignored: patterns of entries that are no weights of ours.
        prefixes: that wrappers put before every name.
        backbone_only: the rest of a detector is not missing.
        published_only: its names are those of the published genome's cells.
        plain_shortcuts: a block that keeps its channels and size has no projection.
    """

    spellings: tuple[Spelling, ...]
    recipe: str | None
    ignored: tuple[str, ...]
    prefixes: tuple[str, ...] = ()
    backbone_only: bool = False
    published_only: bool = False
    plain_shortcuts: bool = True

    def names(self, place: ParameterPath) -> tuple[str, ...]:
        """Return the names a parameter may have here, the usual one first."""
        return tuple(name for spelling in self.spellings for name in spelling.names(place))


def _resnet(prefix: str, shortcut: str) -> dict[str, tuple[str, ...]]:
    """Return the templates of a backbone; all but TF name it as torchvision does."""
    block = prefix + "layer{group1}.{block}."
    return {
        "stem.conv": (prefix + "conv1",),
        "stem.bn": (prefix + "bn1",),
        "body.conv": (block + "conv{index1}",),
        "body.bn": (block + "bn{index1}",),
        "shortcut.conv": (f"{block}{shortcut}.0",),
        "shortcut.bn": (f"{block}{shortcut}.1",),
    }


_MMDET_STAGE = (
    "neck.fpn_stages.{stack}.{cell_name}.out_conv",
    "neck.fpn_stages.{stack}.{cell_name}.conv_out",  # until 2020-05
    "neck.fpn_stages.{stack}.{cell}.out_conv",  # any genome: cells by number
)
_MMDET = Spelling(
    _resnet("backbone.", "downsample")
    | {
        "lateral.conv": ("neck.lateral_convs.{index}.conv",),
        "lateral.bn": ("neck.lateral_convs.{index}.bn",),
        "coarser.conv": ("neck.extra_downsamples.{index}.0.conv",),
        "coarser.bn": ("neck.extra_downsamples.{index}.0.bn",),
        "cell.conv": tuple(f"{cell}.conv" for cell in _MMDET_STAGE),
        "cell.bn": tuple(f"{cell}.bn" for cell in _MMDET_STAGE),
        # one tensor under the names of all levels
        "head": tuple(
            f"bbox_head.{{tower}}_convs.{level}.{{index}}.conv" for level in range(MMDET_LEVELS)
        ),
        "head_norm": ("bbox_head.{tower}_convs.{map}.{index}.bn",),
        "predict": ("bbox_head.retina_{tower}",),
    },
    TORCH,
    {"classes": "cls", "boxes": "reg"},
    MMDET_CELLS,
)

_ZOO_CELL = "neck.fpn_stages.{stack}.{cell_name}.out_conv.features."
_MODELZOO = Spelling(
    _resnet("backbone.", "down_sample_layer")
    | {
        "lateral.conv": ("neck.lateral_convs.{index}.conv",),
        "lateral.bn": ("neck.lateral_convs.{index}.batchnorm",),
        "coarser.conv": ("neck.extra_downsamples.{index}.0.conv",),
        "coarser.bn": ("neck.extra_downsamples.{index}.0.batchnorm",),
        "cell.conv": (_ZOO_CELL + "1",),
        "cell.bn": (_ZOO_CELL + "2",),
        "level_head": ("head.multi_{tower}_layers.{map}.feats.{index2}",),
        "level_predict": ("head.multi_{tower}_layers.{map}.feats.{last2}",),
    },
    MINDSPORE,
    {"classes": "cls", "boxes": "loc"},
    MODELZOO_CELLS,
)

_TF_CELL = "fpn_cells/cell_{stack}/sub_policy{cell}/op_after_combine{node}/"
_TF = Spelling(
    {
        **{f"{kind}.conv": ("resnet{depth}/conv2d{nth}",) for kind in ("stem", "body", "shortcut")},
        **{
            f"{kind}.bn": ("resnet{depth}/batch_normalization{nth}",)
            for kind in ("stem", "body", "shortcut")
        },
        "lateral.conv": ("resample_l{level}/conv2d",),
        "lateral.bn": ("resample_l{level}/bn",),
        "cell.conv": (_TF_CELL + "conv",),
        "cell.bn": (_TF_CELL + "bn",),
        "head": ("retinanet/{tower}_net/{tower}-{index}",),
        "head_norm": ("retinanet/{tower}_net/{tower}-{index}-{level}",),
        "predict": ("retinanet/{tower}_net/{tower}-predict",),
    },
    TENSORFLOW,
    {"classes": "class", "boxes": "box"},
)
# A pyramid alone, kernels (out, in, height, width): the names of tests/assets/tf.npz.
_TF_NECK = Spelling(
    {
        "lateral.conv": ("neck.lateral.{level}.conv",),
        "lateral.bn": ("neck.lateral.{level}.bn",),
        "cell.conv": ("neck.cells.{stack}.{cell}.conv",),
        "cell.bn": ("neck.cells.{stack}.{cell}.bn",),
    },
    TORCH,
    {},
)

_STEPS_SEEN = r".*\.num_batches_tracked"
_MINDSPORE_TRAINING = (
    r"moments\..*",
    r"momentum",
    r"learning_rate",
    r"global_step",
    r"epoch_num",
    r"step_num",
    r"current_iterator_step",
    r"last_overflow_iterator_step",
    r"scale_sense",
)

SOURCES = {
    "mmdet": Source(
        (_MMDET,), "mmdet-r50-7x256-640", (_STEPS_SEEN,), ("module.",), published_only=True
    ),
    "modelzoo": Source(
        (_MODELZOO,),
        "modelzoo-r50-7x256-640",
        _MINDSPORE_TRAINING,
        ("module.", "network."),
        published_only=True,
    ),
    "tf": Source(
        (_TF, _TF_NECK),
        "tf-r50-7x256-640",
        (_STEPS_SEEN, r".*/Momentum", r".*/ExponentialMovingAverage", r"global_step"),
        plain_shortcuts=False,
    ),
    "torchvision": Source(
        (Spelling(_resnet("", "downsample"), TORCH, {}),),
        None,
        (_STEPS_SEEN, r"fc\.(weight|bias)"),
        ("module.",),
        backbone_only=True,
    ),
    "mindcv": Source(
        (Spelling(_resnet("", "down_sample"), MINDSPORE, {}),),
        None,
        (*_MINDSPORE_TRAINING, r"classifier\.(weight|bias)"),
        ("network.",),
        backbone_only=True,
    ),
}
