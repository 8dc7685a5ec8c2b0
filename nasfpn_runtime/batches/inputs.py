"""From a batch of numpy arrays to the inputs of the compiled training step."""

from __future__ import annotations

from typing import NamedTuple

import mindspore
from mindspore import Tensor

from nasfpn_runtime.batches.loader import Batch
from nasfpn_runtime.cluster.cards import Cards
from nasfpn_runtime.network.losses import normaliser, positives
from nasfpn_runtime.network.tensors import as_tensor
from nasfpn_runtime.recipe.recipe import Recipe

_KEYS = 1 << 31


class Inputs(NamedTuple):
    """A card's inputs of one forward and backward pass.

    Attributes:
        images, sizes: (N, 3, H, W) uint8 and (N, 2) int32, see ``Normalise``.
        labels, deltas: (N, A) int32 and (N, A, 4) float32, see ``DetectionLoss``.
        normaliser: normaliser of the whole update, a float32 scalar.
        keep, key: DropBlock's inputs, float32 and int32 scalars, see ``Network.outputs``.
    """

    images: Tensor
    sizes: Tensor
    labels: Tensor
    deltas: Tensor
    normaliser: Tensor
    keep: Tensor
    key: Tensor


def make_inputs(
    batch: Batch, recipe: Recipe, cards: Cards, seed: int, step: int, steps: int
) -> list[Inputs]:
    """Divide a card's share of a batch into ``training.accumulate`` parts of equal size.

    Args:
        step: index of the step among the ``steps`` of the run. DropBlock's ``keep`` falls
            linearly from 1 at the first step.
    """
    training, kind = recipe.training, recipe.loss.normaliser
    (count,) = cards.sum([positives(batch.labels, kind)])
    least = training.dropblock.keep if training.dropblock else 1.0
    keep = 1.0 - (1.0 - least) * step / steps
    first = (step * cards.count + cards.rank) * training.accumulate
    size = len(batch.labels) // training.accumulate
    parts = [slice(start, start + size) for start in range(0, size * training.accumulate, size)]
    return [
        Inputs(
            as_tensor(batch.images[part]),
            as_tensor(batch.sizes[part]),
            as_tensor(batch.labels[part]),
            as_tensor(batch.deltas[part]),
            Tensor(normaliser(count, kind), mindspore.float32),
            Tensor(keep, mindspore.float32),
            # One key for each part of the run; each seed starts from another key.
            Tensor((seed * 0x9E3779B1 + first + number) % _KEYS, mindspore.int32),
        )
        for number, part in enumerate(parts)
    ]
