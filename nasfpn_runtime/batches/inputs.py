"""From a batch of numpy arrays to the inputs of the compiled step."""

from __future__ import annotations

from typing import NamedTuple

import mindspore
import numpy as np
from mindspore import Tensor
from numpy.typing import NDArray

from nasfpn_runtime.batches.loader import Batch
from nasfpn_runtime.cluster.cards import Cards
from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.network.losses import normaliser, positives
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.recipe.settings import Training

_KEYS = 1 << 31


class Inputs(NamedTuple):
    """A card's inputs of one forward and backward pass.

    Attributes:
        images, sizes: (N, 3, H, W) uint8, (N, 2) int32, see ``Normalise``.
        labels, deltas: (N, A) int32, (N, A, 4) float32, see ``DetectionLoss``.
        normaliser: of the whole update, float32 scalar.
        keep, key: of DropBlock, float32 and int32 scalars, see ``Network.outputs``.
    """

    images: Tensor
    sizes: Tensor
    labels: Tensor
    deltas: Tensor
    normaliser: Tensor
    keep: Tensor
    key: Tensor


def check_shares(training: Training, cards: int) -> None:
    """Refuse a batch that cannot be cut into equal parts.

    Raises:
        RecipeError: it is no multiple of the number of cards times ``accumulate``.
    """
    if training.batch % (cards * training.accumulate):
        raise RecipeError(
            f"training.batch is a multiple of the cards times training.accumulate, got "
            f"{training.batch} for {cards} times {training.accumulate}"
        )


def make_inputs(
    batch: Batch, recipe: Recipe, cards: Cards, seed: int, step: int, steps: int
) -> list[Inputs]:
    """Return a card's share of a batch in ``training.accumulate`` parts of equal size.

    Args:
        step: of ``steps``, counted from 0; what DropBlock keeps falls with it.
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
            # One key for each part of the run; other seeds begin elsewhere.
            Tensor((seed * 0x9E3779B1 + first + number) % _KEYS, mindspore.int32),
        )
        for number, part in enumerate(parts)
    ]


def as_tensor(array: NDArray[np.generic]) -> Tensor:
    """Return a numpy array as a tensor of the same type."""
    return Tensor.from_numpy(np.ascontiguousarray(array))
