"""Checkpoints and MINDIR files in MindSpore, in its device and mode of the moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

from nasfpn_runtime.batches.inputs import as_tensor
from nasfpn_runtime.inference.description import Description, describe
from nasfpn_runtime.inference.engines.base import BATCH, refused
from nasfpn_runtime.inference.postprocess import sigmoid
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.build import build_network
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.pictures.boxes import decode
from nasfpn_runtime.recipe.recipe import Recipe
from search_space.genome import Genome


class Trained:
    """A network of ours as it is trained; see ``base.Engine``.

    Each shape of input is compiled once: of one picture, and of a batch, which is never larger
    than one that is trained on, as that needs more memory for each.
    """

    def __init__(self, net: Network, recipe: Recipe, genome: Genome) -> None:
        self.net, self.recipe, self.levels = net, recipe, genome.levels
        self.net.set_train(False)
        self.first = int(recipe.model.resolved_dialect().background)
        self.batch = min(BATCH, recipe.training.batch // recipe.training.accumulate)

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """See ``base.Engine``."""
        (images,) = inputs
        size = 1 if len(images) == 1 else self.batch
        parts = [self._part(images[i : i + size], size) for i in range(0, len(images), size)]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def _part(self, images: NDArray[np.float32], size: int) -> tuple[NDArray[Any], NDArray[Any]]:
        count, _, height, width = images.shape
        empty = np.zeros((size - count, 3, height, width), np.float32)
        outputs = self.net(as_tensor(np.concatenate([images, empty]) if len(empty) else images))
        logits, deltas = (output.asnumpy()[:count] for output in outputs)
        anchors = self.recipe.anchor_boxes(self.levels, (height, width))
        boxes = np.stack([decode(d, anchors, self.recipe.box_code) for d in deltas])
        return boxes, sigmoid(logits[:, :, self.first :])


def open_checkpoint(path: Path, stacks: int | None = None) -> tuple[Trained, Description]:
    """Return a checkpoint's network, and what it says about itself.

    Args:
        stacks: of the pyramid, cut after so many; None for all.

    Raises:
        CheckpointError: it is not a whole checkpoint.
        RecipeError: it has fewer stacks.
    """
    arrays, origin = checkpoint.load_weights(path)
    recipe, genome, names = origin.recipe, origin.genome, origin.categories
    net = build_network(recipe, genome, len(names), stacks=stacks)
    checkpoint.restore(net, arrays, path)
    return Trained(net, recipe, genome), describe(recipe, genome, names)


class Mindir:
    """A MINDIR file; see ``base.Engine``."""

    def __init__(self, path: Path) -> None:
        try:
            self.net = nn.GraphCell(mindspore.load(str(path)))
        except (RuntimeError, ValueError) as error:
            raise refused("mindspore", path, error) from None

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """See ``base.Engine``."""
        try:
            found = self.net(*(Tensor(np.ascontiguousarray(x)) for x in inputs))
        except (RuntimeError, ValueError) as error:
            raise refused("mindspore", f"an input of {inputs[0].shape}", error) from None
        return tuple(output.asnumpy() for output in found)
