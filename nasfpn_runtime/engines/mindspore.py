"""Checkpoints and MINDIR files in MindSpore, in its device and mode of the moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

from nasfpn_runtime import checkpoint
from nasfpn_runtime.boxes import decode
from nasfpn_runtime.engines.base import refused
from nasfpn_runtime.export.description import Description, describe
from nasfpn_runtime.networks import build_detector
from nasfpn_runtime.postprocess import sigmoid

BATCH = 8


class Checkpoint:
    """A checkpoint's network as it was trained; see ``base.Engine``.

    Each shape of input is compiled once: of one picture, and of up to ``BATCH``.

    Args:
        stacks: of the pyramid, cut after so many; None for all.

    Raises:
        CheckpointError: it is not a whole checkpoint.
        RecipeError: it has fewer stacks.
    """

    def __init__(self, path: Path, stacks: int | None = None) -> None:
        arrays, origin = checkpoint.load_weights(path)
        self.recipe, self.levels = origin.recipe, origin.genome.levels
        self.net = build_detector(
            origin.recipe, origin.genome, len(origin.categories), stacks=stacks
        )
        checkpoint.restore(self.net, arrays, path)
        self.net.set_train(False)
        self.first = int(origin.recipe.model.resolved_semantics().background)
        self.description: Description = describe(origin.recipe, origin.genome, origin.categories)

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """See ``base.Engine``."""
        (images,) = inputs
        frame = (images.shape[2], images.shape[3])
        anchors = self.recipe.anchor_boxes(self.levels, frame)
        parts = [self._part(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
        logits, deltas = (np.concatenate(part) for part in zip(*parts, strict=True))
        boxes = np.stack([decode(d, anchors, self.recipe.box_code) for d in deltas])
        return boxes, sigmoid(logits[:, :, self.first :])

    def _part(self, images: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
        count = len(images)
        if 1 < count < BATCH:
            empty = np.zeros((BATCH - count, *images.shape[1:]), np.float32)
            images = np.concatenate([images, empty])
        logits, deltas = self.net(Tensor(np.ascontiguousarray(images)))
        return logits.asnumpy()[:count], deltas.asnumpy()[:count]


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
