"""From a trained detector to COCO's figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nasfpn_runtime import checkpoint, coco_eval
from nasfpn_runtime.cells.detector import Detector
from nasfpn_runtime.config import Recipe
from nasfpn_runtime.data.coco import CocoSplit, load_split
from nasfpn_runtime.data.image import Pixels, normalise
from nasfpn_runtime.data.loader import Pictures
from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.networks import build_detector
from nasfpn_runtime.postprocess import Detections, detections
from nasfpn_runtime.protocols import PROTOCOLS, select
from nasfpn_runtime.step import as_tensor
from search_space.genome import Genome

BATCH = 8


def score(
    net: Detector,
    recipe: Recipe,
    genome: Genome,
    pictures: Pictures,
    *,
    columns: Sequence[int] | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Return COCO's figures of a detector on a split (see :func:`detect`)."""
    net.set_train(False)
    found = detect(net, recipe, genome, pictures, columns=columns, progress=progress)
    return coco_eval.evaluate(pictures.split, found)


def detect(
    net: Detector,
    recipe: Recipe,
    genome: Genome,
    pictures: Pictures,
    *,
    columns: Sequence[int] | None = None,
    progress: bool = True,
) -> Iterator[tuple[int, Detections]]:
    """Yield (image id, detections in stored pixels) of every picture of a split, once.

    Pictures padded to the same size follow each other; the order is that of the split where
    all have one size.

    Args:
        columns: the detector's class for each class of the split; None for the same ones.
            Its other classes are not looked at.
    """
    levels = genome.levels
    steps = list(_batches(pictures, 1 << max(levels)))
    grids = {
        frame: (recipe.anchor_boxes(levels, frame), recipe.anchor_levels(levels, frame))
        for frame in dict.fromkeys(frame for frame, _ in steps)
    }
    first = int(recipe.model.resolved_semantics().background)
    for frame, indices in tqdm(
        steps, desc="evaluate", unit="batch", disable=not progress, leave=False
    ):
        fitted = [pictures[index] for index in indices]
        logits, deltas = _forward(net, frame, [picture for picture, _ in fitted])
        logits = logits[:, :, first:]
        scores = sigmoid(logits if columns is None else logits[:, :, list(columns)])
        for slot, (index, (_, placement)) in enumerate(zip(indices, fitted, strict=True)):
            found = detections(
                scores[slot],
                deltas[slot],
                *grids[frame],
                placement,
                recipe.detection,
                recipe.box_code,
            )
            yield pictures.split.samples[index].image_id, found


def _forward(
    net: Detector, frame: tuple[int, int], pictures: Sequence[Pixels]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logits and deltas of up to ``BATCH`` pictures padded to (height, width)."""
    images = np.zeros((BATCH, 3, *frame), np.float32)  # one shape, one graph
    for slot, picture in enumerate(pictures):
        images[slot] = normalise(picture, frame)
    logits, deltas = (output.asnumpy() for output in net(as_tensor(images)))
    return logits[: len(pictures)], deltas[: len(pictures)]


def _batches(
    pictures: Pictures, coarsest_stride: int
) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """Yield (height, width) of the input and up to ``BATCH`` pictures padded to it."""
    frames: dict[tuple[int, int], list[int]] = {}
    for index in range(len(pictures.split.samples)):
        frames.setdefault(pictures.frame(index, coarsest_stride), []).append(index)
    for frame, indices in frames.items():
        for start in range(0, len(indices), BATCH):
            yield frame, indices[start : start + BATCH]


def score_checkpoint(
    path: Path, data: Path, split: str, *, protocol: str = "coco", progress: bool = True
) -> dict[str, float]:
    """Return COCO's figures of a checkpoint on a split of a data set.

    Categories are compared by name: the split may have fewer than the checkpoint, and in
    another order.

    Args:
        protocol: a key of ``protocols.PROTOCOLS``.

    Raises:
        CheckpointError: the file is not a whole checkpoint, or lacks a category of the split.
        DataError: the split cannot be read, or the protocol leaves no picture of it.
    """
    arrays, origin = checkpoint.load(path)
    truth = load_split(data, split)
    columns = _columns(origin.categories, truth)
    chosen = PROTOCOLS[protocol]
    recipe = replace(origin.recipe, detection=chosen.detection or origin.recipe.detection)
    net = build_detector(recipe, origin.genome, len(origin.categories))
    checkpoint.restore(net, arrays, path)
    pictures = Pictures(select(truth, chosen), recipe.image_size(origin.genome.levels), recipe.data)
    return score(net, recipe, origin.genome, pictures, columns=columns, progress=progress)


def _columns(known: tuple[str, ...], truth: CocoSplit) -> list[int]:
    missing = [name for name in truth.categories if name not in known]
    if missing:
        raise CheckpointError(
            f"the data set has categories of the checkpoint only ({', '.join(known)}), got "
            f"{', '.join(missing)} (at {truth.annotation_file})"
        )
    return [known.index(name) for name in truth.categories]


def sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + exp(-x)) without overflow."""
    result: NDArray[np.float32] = 0.5 * (1.0 + np.tanh(0.5 * x))
    return result
