"""Run checkpoints and MINDIR files in MindSpore, on its current device and in its current mode.

Any threads may call these engines. All runs hold the one lock of MindSpore (``cluster/sharing.py``
says why), so they take turns, also with a training in another thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

from nasfpn_runtime.cluster.compiled import compile_once
from nasfpn_runtime.cluster.sharing import destroy_retired, lock, register, retire
from nasfpn_runtime.inference.description import Description, describe
from nasfpn_runtime.inference.engines.base import BATCH, engine_error
from nasfpn_runtime.inference.postprocess import sigmoid
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.build import build_network
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.network.tensors import as_tensor
from nasfpn_runtime.pictures.boxes import decode
from nasfpn_runtime.progress import waiting
from nasfpn_runtime.recipe.memory import check_detecting
from nasfpn_runtime.recipe.recipe import Recipe
from search_space.genome import Genome


class NetworkEngine:
    """A network built here, such as the one being trained; see ``base.Engine``.

    MindSpore compiles the network for each shape of input. To keep these few, an input is
    either a single image or a batch that is filled up with empty images. The batch is never
    larger than a batch of the training, so that it fits in the same memory.

    Args:
        net: the network; put in inference mode.
        progress: report on standard error while MindSpore compiles the network.
    """

    def __init__(
        self, net: Network, recipe: Recipe, genome: Genome, *, progress: bool = False
    ) -> None:
        self.net, self.recipe, self.levels = net, recipe, genome.levels
        self.net.set_train(False)
        self.first = int(recipe.model.resolved_dialect().background)
        self.batch = min(BATCH, recipe.training.batch // recipe.training.accumulate)
        self.progress, self.notice = progress, compile_notice(recipe, genome)
        self._compiled: set[tuple[int, ...]] = set()
        register(self)

    def __del__(self) -> None:
        retire(vars(self).pop("net", None))  # MindSpore frees what it has compiled

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """See ``base.Engine``."""
        (images,) = inputs
        size = 1 if len(images) == 1 else self.batch
        parts = [self._run_part(images[i : i + size], size) for i in range(0, len(images), size)]
        logits, deltas = (np.concatenate(part) for part in zip(*parts, strict=True))
        anchors = self.recipe.anchor_boxes(self.levels, (images.shape[2], images.shape[3]))
        boxes = np.stack([decode(d, anchors, self.recipe.box_code) for d in deltas])
        return boxes, sigmoid(logits[:, :, self.first :])

    def _run_part(
        self, images: NDArray[np.float32], size: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return logits and deltas of up to ``size`` images, run in a batch of that size."""
        count, _, height, width = images.shape
        empty = np.zeros((size - count, 3, height, width), np.float32)
        full = np.concatenate([images, empty]) if len(empty) else images
        with lock("mindspore"):
            destroy_retired()
            compiles = full.shape not in self._compiled
            pixels = as_tensor(full)
            with waiting(self.notice, shown=self.progress and compiles):
                if compiles:
                    compile_once(self.net, pixels)
                logits, deltas = (out.asnumpy()[:count].copy() for out in self.net(pixels))
            self._compiled.add(full.shape)
        return logits, deltas


def compile_notice(recipe: Recipe, genome: Genome, *, training: bool = False) -> str:
    """Return the line to show while MindSpore compiles a network, with a rough estimate.

    Args:
        training: whether the backward pass is compiled too.
    """
    if mindspore.get_context("device_target") != "CPU":
        return "compiling the network, which takes minutes"
    # Measured on two cores: 4 s for one stack of 7 cells and 20 s for seven with the backward
    # pass, 1.4 s and 8 s without it.
    cells = recipe.model.stacks * len(genome.cells)
    seconds = 2 + 0.4 * cells if training else 1 + 0.15 * cells
    return f"compiling the network, about {seconds:.0f} s"


def open_checkpoint(
    path: Path, stacks: int | None = None, *, progress: bool = False
) -> tuple[NetworkEngine, Description]:
    """Return the network of a checkpoint, with its weights, and its description.

    Args:
        stacks: number of stacks of the pyramid to keep; None for all.
        progress: see :class:`NetworkEngine`.

    Raises:
        CheckpointError: the file is not a complete checkpoint.
        EngineError: MindSpore cannot be used in this process, see ``sharing.check_usable``.
        RecipeError: the pyramid has fewer stacks.
    """
    with lock("mindspore"):
        arrays, origin = checkpoint.load_weights(path)
        recipe, genome, names = origin.recipe, origin.genome, origin.categories
        if mindspore.get_context("device_target") == "CPU":
            check_detecting(recipe, genome, 1)
        net = build_network(recipe, genome, len(names), stacks=stacks)
        checkpoint.restore(net, arrays, path)
    engine = NetworkEngine(net, recipe, genome, progress=progress)
    return engine, describe(recipe, genome, names)


class MindirEngine:
    """A MINDIR file; see ``base.Engine``.

    Raises:
        EngineError: MindSpore cannot load the file, or cannot be used in this process.
    """

    def __init__(self, path: Path) -> None:
        register(self)
        with lock("mindspore"):
            try:
                self.net = nn.GraphCell(mindspore.load(str(path)))
            except (RuntimeError, ValueError) as error:
                raise engine_error("mindspore", path, error) from None

    def __del__(self) -> None:
        retire(vars(self).pop("net", None))

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """See ``base.Engine``."""
        with lock("mindspore"):
            destroy_retired()
            try:
                outputs = self.net(*(Tensor(np.ascontiguousarray(x)) for x in inputs))
            except (RuntimeError, ValueError) as error:
                raise engine_error("mindspore", f"an input of {inputs[0].shape}", error) from None
            return tuple(output.asnumpy().copy() for output in outputs)
