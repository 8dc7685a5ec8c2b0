"""The sources of checkpoints, and how each spells the parameters of a detector.

The names are taken from:

- mmdet: mmdetection 3.3.0, ``models/necks/nas_fpn.py`` and
  ``models/dense_heads/retina_sepbn_head.py``; its backbone is torchvision's ResNet.
- modelzoo: MindSpore models at eab643f, ``research/cv/nas-fpn``.
- tf: tensorflow/tpu at 7dc921f, ``models/official/detection/modeling/architecture``; read off
  the variables of its own graph.
- torchvision: 0.x, ``models/resnet.py``.
- mindcv: ``models/resnet.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nasfpn_runtime.importers.parameters import ParameterPath

# The sources' modules for the merging cells of the published genome, in its order. mmdetection
# has two more, without a convolution (gp_43_5, gp_54_7); the model zoo numbers all nine.
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
    """One way to spell the names of parameters.

    Attributes:
        modules: templates by kind of path (see ``ParameterPath``). Several templates are
            several names of the same tensor. ``{cell_name}`` is the name that ``cells`` has
            for the cell.
        leaves: ends of names, by our leaf.
        towers: words for the class tower and the box tower, by our word.
        cells: names of the merging cells in order; a cell beyond them is named by its number.
    """

    modules: Mapping[str, tuple[str, ...]]
    leaves: Mapping[str, str]
    towers: Mapping[str, str]
    cells: tuple[str | int, ...] = ()

    def names(self, path: ParameterPath) -> Iterator[str]:
        """Yield the names of a parameter in this spelling."""
        fields = dict(path.fields)
        if "tower" in fields:
            fields["tower"] = self.towers.get(str(fields["tower"]), "")
        cell = int(fields.get("cell", 0))
        fields["cell_name"] = self.cells[cell] if cell < len(self.cells) else cell
        for template in self.modules.get(path.kind, ()):
            yield template.format(**fields) + self.leaves[path.leaf]


@dataclass(frozen=True)
class CheckpointSource:
    """An implementation whose checkpoints are read.

    Attributes:
        spellings: the ways in which its files spell names, the usual one first.
        recipe: name of the recipe that its weights fit; None for backbones.
        ignored: regular expressions of entries that are not weights of ours.
        prefixes: prefixes that wrappers put before every name.
        backbone_only: its files hold a backbone; the rest of a detector is not missing.
        published_only: its names are those of the published genome's cells.
        identity_shortcuts: a block that keeps the number of channels and the size has no
            projection; see ``load.py``.
    """

    spellings: tuple[Spelling, ...]
    recipe: str | None
    ignored: tuple[str, ...]
    prefixes: tuple[str, ...] = ()
    backbone_only: bool = False
    published_only: bool = False
    identity_shortcuts: bool = True

    def names(self, path: ParameterPath) -> tuple[str, ...]:
        """Return the names that a parameter may have in this source, the usual one first."""
        return tuple(name for spelling in self.spellings for name in spelling.names(path))


def _resnet(prefix: str, shortcut: str) -> dict[str, tuple[str, ...]]:
    """Return the templates of a ResNet, which all sources but TF name as torchvision does.

    Args:
        prefix: before every name.
        shortcut: word for the projection of a block.
    """
    block = prefix + "layer{group1}.{block}."
    return {
        "stem.conv": (prefix + "conv1",),
        "stem.bn": (prefix + "bn1",),
        "body.conv": (block + "conv{index1}",),
        "body.bn": (block + "bn{index1}",),
        "shortcut.conv": (f"{block}{shortcut}.0",),
        "shortcut.bn": (f"{block}{shortcut}.1",),
    }


_MMDET_CELL = (
    "neck.fpn_stages.{stack}.{cell_name}.out_conv",
    "neck.fpn_stages.{stack}.{cell_name}.conv_out",  # until 2020-05
    "neck.fpn_stages.{stack}.{cell}.out_conv",  # other genomes: cells by number
)
_MMDET = Spelling(
    _resnet("backbone.", "downsample")
    | {
        "lateral.conv": ("neck.lateral_convs.{index}.conv",),
        "lateral.bn": ("neck.lateral_convs.{index}.bn",),
        "coarser.conv": ("neck.extra_downsamples.{index}.0.conv",),
        "coarser.bn": ("neck.extra_downsamples.{index}.0.bn",),
        "cell.conv": tuple(f"{cell}.conv" for cell in _MMDET_CELL),
        "cell.bn": tuple(f"{cell}.bn" for cell in _MMDET_CELL),
        # one tensor, stored under the names of all levels
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
# Only a pyramid, with kernels (out, in, height, width): the names of tests/assets/tf.npz.
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

_TORCH_COUNTERS = r".*\.num_batches_tracked"
# State of the optimiser and of callbacks in a training checkpoint.
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
    "mmdet": CheckpointSource(
        (_MMDET,), "mmdet-r50-7x256-640", (_TORCH_COUNTERS,), ("module.",), published_only=True
    ),
    "modelzoo": CheckpointSource(
        (_MODELZOO,),
        "modelzoo-r50-7x256-640",
        _MINDSPORE_TRAINING,
        ("module.", "network."),
        published_only=True,
    ),
    "tf": CheckpointSource(
        (_TF, _TF_NECK),
        "tf-r50-7x256-640",
        (_TORCH_COUNTERS, r".*/Momentum", r".*/ExponentialMovingAverage", r"global_step"),
        identity_shortcuts=False,
    ),
    "torchvision": CheckpointSource(
        (Spelling(_resnet("", "downsample"), TORCH, {}),),
        None,
        (_TORCH_COUNTERS, r"fc\.(weight|bias)"),
        ("module.",),
        backbone_only=True,
    ),
    "mindcv": CheckpointSource(
        (Spelling(_resnet("", "down_sample"), MINDSPORE, {}),),
        None,
        (*_MINDSPORE_TRAINING, r"classifier\.(weight|bias)"),
        ("network.",),
        backbone_only=True,
    ),
}
