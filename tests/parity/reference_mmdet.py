"""mmdetection's own NAS-FPN detector, from its packages and its published configuration.

Needs torch, torchvision, mmengine, mmcv-lite 2.1.0 and mmdet 3.3.0. mmcv-lite lacks mmcv's
compiled operators. A replacement lets the modules that need them be imported; it takes the one
that detection runs, non-maximum suppression, from torchvision.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import nms
from weights import weight

from search_space import Genome
from search_space.wiring import wire

CONFIG = ".mim/configs/nas_fpn/retinanet_r50_nasfpn_crop640-50e_coco.py"
# Modules of NASFPN with a convolution, in the order of the published genome's cells.
CELLS = ("gp_64_4", "sum_44_4", "sum_43_3", "sum_34_4", "sum_55_5", "sum_77_7", "gp_75_6")

Array = NDArray[np.float32]


class _Operators(ModuleType):
    """Replaces ``mmcv._ext``: every name exists, but only ``nms`` works."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)

    @staticmethod
    def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
        assert offset == 0  # torchvision has no other
        kept: Tensor = nms(boxes, scores, iou_threshold)
        return kept


sys.modules.setdefault("mmcv._ext", _Operators("mmcv._ext"))

import mmdet  # noqa: E402  after the replacement
import mmdet.models  # noqa: E402  registers the modules
from mmcv.ops.merge_cells import GlobalPoolingCell, SumCell  # noqa: E402
from mmdet.models.necks import NASFPN  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402


def detector() -> Any:
    """Return the complete detector of the published configuration, in inference mode."""
    init_default_scope("mmdet")
    config = Config.fromfile(str(Path(mmdet.__file__).parent / CONFIG))
    return MODELS.build(config.model).eval()


def neck(in_channels: Mapping[int, int], channels: int, stacks: int) -> Any:
    """Return mmdetection's neck with the published genome, in inference mode."""
    return NASFPN(list(in_channels.values()), channels, 5, stacks, norm_cfg={"type": "BN"}).eval()


class GenomeNeck(NASFPN):
    """mmdetection's neck with any genome, built from mmcv's merging cells.

    A cell becomes one module for its op and one sum for each leftover, as ``NASFPN`` merges
    the leftovers of p5 and p7. Only the last module has a convolution. In mmcv's attention the
    second operand gates the first. Here the first is the finer input, as in all four such
    cells of ``NASFPN``. Modules have the names of ``NASFPN``, by the number of the cell.
    """

    def __init__(
        self, genome: Genome, in_channels: Mapping[int, int], channels: int, stacks: int
    ) -> None:
        norm = {"type": "BN"}
        super().__init__(list(in_channels.values()), channels, 5, 0, norm_cfg=norm)
        self.genome = genome
        leftovers = genome.leftovers()
        width = {"in_channels": channels, "out_channels": channels, "out_norm_cfg": norm}
        for _ in range(stacks):
            stage = nn.ModuleDict()
            for number, (name, cell) in enumerate(zip(CELLS, genome.cells, strict=True)):
                op = {"sum": SumCell, "attention": GlobalPoolingCell}[cell.op]
                more = leftovers.get(number + len(genome.levels), ())
                *plain, last = [op] + [SumCell] * len(more)
                for index, kind in enumerate(plain):
                    stage[f"{name}_{index}"] = kind(**width, with_out_conv=False)
                stage[name] = last(**width)
            self.fpn_stages.append(stage)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        maps = [conv(x) for conv, x in zip(self.lateral_convs, inputs, strict=True)]
        for downsample in self.extra_downsamples:
            maps.append(downsample(maps[-1]))
        sizes = {
            int(level): x.shape[-2:] for level, x in zip(self.genome.levels, maps, strict=True)
        }
        for stage in self.fpn_stages:
            nodes = list(maps)
            for number, cell in enumerate(self.genome.cells, start=len(maps)):
                nodes.append(self._node(stage, number, nodes, sizes[int(cell.level)]))
            maps = [nodes[node] for node in self.genome.outputs.values()]
        return tuple(maps)

    def _node(
        self, stage: nn.ModuleDict, number: int, nodes: list[Tensor], size: tuple[int, int]
    ) -> Tensor:
        first = len(self.genome.levels)
        name, cell = CELLS[number - first], wire(self.genome).cells[number - first]
        operands = sorted(cell.inputs, key=lambda source: source.role)  # "gate", then "value"
        sums = [stage[f"{name}_{index}"] for index in range(len(cell.leftovers))]
        op, *sums = [*sums, stage[name]]
        merged: Tensor = op(*(nodes[source.node] for source in operands), size)
        for module, node in zip(sums, cell.leftovers, strict=True):
            merged = module(nodes[node], merged, size)
        return merged


def fill(net: Any, seed: int = 0) -> dict[str, Array]:
    """Set all weights and statistics by name; return them by name in the state dict.

    The levels of the head share convolutions; each gets the weights for its name on the first
    level.
    """
    arrays = {}
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            first = re.sub(r"_convs\.\d\.(\d)\.conv", r"_convs.0.\1.conv", name)
            arrays[name] = weight(first, tuple(value.shape), seed)
    net.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()}, strict=False)
    return arrays


def run(net: Any, maps: Mapping[int, Array]) -> list[Array]:
    """Return the outputs of a neck for the maps of a backbone."""
    with torch.no_grad():
        return [y.numpy() for y in net([torch.from_numpy(x) for x in maps.values()])]


def outputs(net: Any, images: Array) -> tuple[list[Array], list[Array], list[Array]]:
    """Return a detector's maps, class logits and box deltas, each by level, (N, C, H, W)."""
    with torch.no_grad():
        maps = net.extract_feat(torch.from_numpy(images))
        logits, deltas = net.bbox_head(maps)
    maps, logits, deltas = ([y.numpy() for y in part] for part in (maps, logits, deltas))
    return maps, logits, deltas


def spread(net: Any, images: Array) -> None:
    """Scale a detector's predictions so that scores and boxes vary as in a trained detector.

    On these images, logits get mean -6 and standard deviation 1.5 (1 % of the scores are above
    the usual minimum of .05), deltas mean 0 and standard deviation 0.3.
    """
    _, *parts = outputs(net, images)
    predictions = (net.bbox_head.retina_cls, -6.0, 1.5), (net.bbox_head.retina_reg, 0.0, 0.3)
    with torch.no_grad():
        for (conv, mean, deviation), part in zip(predictions, parts, strict=True):
            values = np.concatenate([y.ravel() for y in part])
            scale = deviation / float(values.std())
            conv.weight.mul_(scale)
            conv.bias.sub_(float(values.mean())).mul_(scale).add_(mean)


def detect(
    net: Any, image: Array, picture: tuple[int, int], scale: tuple[float, float]
) -> tuple[Array, Array, Array]:
    """Return boxes (n, 4) xyxy in stored pixels, scores and labels from mmdetection's head.

    Args:
        image: (1, 3, H, W), normalised and padded.
        picture: (height, width) of the scaled image in it.
        scale: input pixels per stored pixel, along x and y.
    """
    meta = {"img_shape": picture, "scale_factor": scale}
    with torch.no_grad():
        raw = net.bbox_head(net.extract_feat(torch.from_numpy(image)))
        (results,) = net.bbox_head.predict_by_feat(*raw, batch_img_metas=[meta], rescale=True)
    return results.bboxes.numpy(), results.scores.numpy(), results.labels.numpy()


def save(net: Any, path: Path) -> None:
    """Write a checkpoint as mmdetection's runner does, but without its log."""
    torch.save({"meta": {"epoch": 50}, "state_dict": net.state_dict()}, path)


def train_step(
    net: Any, maps: Mapping[int, Array], factors: Sequence[Array]
) -> tuple[list[Array], dict[str, Array], dict[str, Array]]:
    """Run a neck in training mode, with the loss sum(outputs * factors).

    Returns:
        Its outputs, the gradients by parameter, and the running statistics after the step.
    """
    net.train()
    results = net([torch.from_numpy(x) for x in maps.values()])
    terms = [(y * torch.from_numpy(f)).sum() for y, f in zip(results, factors, strict=True)]
    torch.stack(terms).sum().backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad.numpy() for name, p in net.named_parameters()}
    statistics = {
        name: value.numpy() for name, value in net.named_buffers() if value.is_floating_point()
    }
    return [y.detach().numpy() for y in results], gradients, statistics
