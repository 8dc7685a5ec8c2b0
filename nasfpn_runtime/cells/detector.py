"""The whole network: backbone, pyramid, head."""

from __future__ import annotations

from mindspore import Tensor, nn

from nasfpn_runtime.cells.head import RetinaHead
from nasfpn_runtime.cells.pyramid import Pyramid
from nasfpn_runtime.cells.resnet import ResNet
from nasfpn_runtime.semantics import Semantics
from search_space.genome import Genome
from search_space.shape import BACKBONE_LEVELS, DetectorShape


class Detector(nn.Cell):
    """Images (N, 3, H, W) float32 to (class logits (N, A, classes), box deltas (N, A, 4)).

    Sides are multiples of the coarsest level's stride. Logits are before the sigmoid;
    deltas are in the recipe's box code and anchors in its order, see ``boxes.py`` and
    ``anchors.py``.

    Args:
        genome: the pyramid.
        shape: sizes of everything; its ``image`` and ``layers`` are not used.
        semantics: numerics.
    """

    def __init__(self, genome: Genome, shape: DetectorShape, semantics: Semantics) -> None:
        super().__init__()
        levels = tuple(int(level) for level in genome.levels if level in BACKBONE_LEVELS)
        self.backbone = ResNet(shape.backbone, shape.width, levels, semantics)
        self.pyramid = Pyramid(
            genome, self.backbone.channels, shape.channels, shape.stacks, semantics
        )
        self.head = RetinaHead(len(genome.levels), shape, semantics)

    def construct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = self.head(self.pyramid(*self.backbone(images)))
        return logits, deltas
