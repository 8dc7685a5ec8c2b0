"""The complete network: backbone, pyramid, head."""

from __future__ import annotations

from mindspore import Tensor, nn

from nasfpn_runtime.network.head import RetinaHead
from nasfpn_runtime.network.mobilenet import MobileNetV2
from nasfpn_runtime.network.pyramid import Pyramid
from nasfpn_runtime.network.resnet import ResNet
from nasfpn_runtime.recipe.dialects import Dialect
from search_space.genome import Genome
from search_space.shape import BACKBONE_LEVELS, RESNETS, DetectorShape


class Network(nn.Cell):
    """Images (N, 3, H, W) float32 to (class logits (N, A, classes), box deltas (N, A, 4)).

    H and W are multiples of the coarsest level's stride. Logits are before the sigmoid. Deltas
    are in the recipe's box code (``pictures/boxes.py``) and anchors in the recipe's order
    (``pictures/anchors.py``).

    Args:
        genome: the pyramid.
        shape: sizes of all parts; its ``image`` and ``layers`` are not used.
        dialect: numerics.
        supervised: whether :meth:`outputs` returns the outputs of every stack, not only the last.
        drop_block: side of the blocks that :meth:`outputs` drops in every cell during training,
            3 in the paper. None for no DropBlock.
    """

    def __init__(
        self,
        genome: Genome,
        shape: DetectorShape,
        dialect: Dialect,
        *,
        supervised: bool = False,
        drop_block: int | None = None,
    ) -> None:
        super().__init__()
        levels = tuple(int(level) for level in genome.levels if level in BACKBONE_LEVELS)
        self.backbone = _backbone(shape, levels, dialect)
        self.pyramid = Pyramid(
            genome, self.backbone.channels, shape.channels, shape.stacks, dialect, drop_block
        )
        self.head = RetinaHead(len(genome.levels), shape, dialect)
        self.first = 0 if supervised else shape.stacks - 1

    def construct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = self.head(self.pyramid(*self.backbone(images)))
        return logits, deltas

    def outputs(
        self, images: Tensor, keep: Tensor, key: Tensor
    ) -> tuple[tuple[Tensor, Tensor], ...]:
        """Return (logits, deltas) of every supervised stack in order, for training.

        All stacks share one head (paper, "Deeply supervised anytime object detection"). They also
        share its batch norms, which the paper does not mention: the network cut after any stack
        is then an ordinary detector with a subset of these weights. Each stack updates the
        running statistics in turn, so that they are averages over the stacks.

        Args:
            keep: fraction of every map that DropBlock keeps, a float32 scalar.
            key: seed of DropBlock's random numbers, an int32 scalar, different in every step.
                Neither is used without ``drop_block``.
        """
        stacks = self.pyramid.outputs(self.backbone(images), keep, key)
        result: tuple[tuple[Tensor, Tensor], ...] = ()
        for i in range(self.first, len(stacks)):
            result = (*result, self.head(stacks[i]))
        return result


def _backbone(shape: DetectorShape, levels: tuple[int, ...], dialect: Dialect) -> nn.Cell:
    if shape.backbone in RESNETS:
        return ResNet(shape.backbone, shape.width, levels, dialect)
    return MobileNetV2(shape.width, levels, dialect)
