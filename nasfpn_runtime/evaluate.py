"""From a trained detector to COCO's figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nasfpn_runtime import checkpoint, coco_eval
from nasfpn_runtime.cells.detector import Detector
from nasfpn_runtime.config import Recipe
from nasfpn_runtime.data.coco import CocoSplit, load_split
from nasfpn_runtime.data.image import normalise
from nasfpn_runtime.data.loader import Pictures
from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.postprocess import Detections, detections
from nasfpn_runtime.step import as_tensor
from search_space.genome import Genome

BATCH = 8


def build(recipe: Recipe, genome: Genome, categories: int) -> Detector:
    """Return the detector of a recipe and a genome for so many categories, weights zero."""
    shape = recipe.shape(categories, genome.levels)
    return Detector(genome, shape, recipe.model.resolved_semantics())


def score(
    net: Detector, recipe: Recipe, genome: Genome, split: CocoSplit, *, progress: bool = True
) -> dict[str, float]:
    """Return COCO's figures of a detector on a split (see ``coco_eval.evaluate``)."""
    net.set_train(False)
    return coco_eval.evaluate(split, detect(net, recipe, genome, split, progress=progress))


def detect(
    net: Detector, recipe: Recipe, genome: Genome, split: CocoSplit, *, progress: bool = True
) -> Iterator[tuple[int, Detections]]:
    """Yield (image id, detections in stored pixels) of every picture of a split."""
    size, anchors = recipe.image_size(genome.levels), recipe.anchor_boxes(genome.levels)
    pictures = Pictures(split, size, recipe.data.fit)
    background = int(recipe.model.resolved_semantics().background)
    settings = recipe.detection
    starts = range(0, len(split.samples), BATCH)
    for start in tqdm(starts, desc="evaluate", unit="batch", disable=not progress, leave=False):
        indices = range(start, min(start + BATCH, len(split.samples)))
        fitted = [pictures[i] for i in indices]
        images = np.zeros((BATCH, 3, *size), np.float32)  # one shape, one graph
        for slot, (picture, _) in enumerate(fitted):
            images[slot] = normalise(picture, size)
        logits, deltas = (output.asnumpy() for output in net(as_tensor(images)))
        scores = sigmoid(logits[:, :, background:])
        for slot, index in enumerate(indices):
            placement = fitted[slot][1]
            found = detections(
                scores[slot],
                deltas[slot],
                anchors,
                image=(placement.height, placement.width),
                score=settings.score,
                iou=settings.iou,
                pre_nms=settings.pre_nms,
                maximum=settings.maximum,
            )
            boxes = placement.inverse(found.boxes)
            yield split.samples[index].image_id, Detections(boxes, found.scores, found.labels)


def score_checkpoint(
    path: Path, data: Path, split: str, *, progress: bool = True
) -> dict[str, float]:
    """Return COCO's figures of a checkpoint on a split of a data set.

    Raises:
        CheckpointError: the file is not a whole checkpoint, or was trained on other categories.
        DataError: the split cannot be read.
    """
    arrays, origin = checkpoint.load(path)
    truth = load_split(data, split)
    if truth.categories != origin.categories:
        raise CheckpointError(
            f"the data set has the categories of the checkpoint {list(origin.categories)}, "
            f"got {list(truth.categories)} (at {truth.annotation_file})"
        )
    net = build(origin.recipe, origin.genome, len(origin.categories))
    checkpoint.restore(net, arrays, path)
    return score(net, origin.recipe, origin.genome, truth, progress=progress)


def sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + exp(-x)) without overflow."""
    result: NDArray[np.float32] = 0.5 * (1.0 + np.tanh(0.5 * x))
    return result
