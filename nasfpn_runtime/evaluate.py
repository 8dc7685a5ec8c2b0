"""From a trained detector to COCO's figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nasfpn_runtime import checkpoint, coco_eval
from nasfpn_runtime.cards import ALONE, Cards
from nasfpn_runtime.cells.network import Network
from nasfpn_runtime.config import Recipe
from nasfpn_runtime.data.coco import CocoSplit, load_split
from nasfpn_runtime.data.image import Pixels, normalise
from nasfpn_runtime.data.loader import Pictures
from nasfpn_runtime.detector import Detector
from nasfpn_runtime.engines.registry import engine_of
from nasfpn_runtime.errors import CheckpointError, EngineError
from nasfpn_runtime.inputs import as_tensor
from nasfpn_runtime.networks import build_detector
from nasfpn_runtime.postprocess import Detections, detections, sigmoid
from nasfpn_runtime.protocols import PROTOCOLS, select
from search_space.genome import Genome

BATCH = 8

_Batch = tuple[tuple[int, int], list[int]]  # (height, width) of the input, pictures


def score(
    net: Network,
    recipe: Recipe,
    genome: Genome,
    pictures: Pictures,
    *,
    columns: Sequence[int] | None = None,
    cards: Cards = ALONE,
    progress: bool = True,
) -> dict[str, float]:
    """Return COCO's figures of a detector on a split (see :func:`detect`).

    Args:
        cards: each looks at a part of the pictures; all return the figures of all.
    """
    net.set_train(False)
    found = detect(net, recipe, genome, pictures, columns=columns, cards=cards, progress=progress)
    if cards.count > 1:
        found = _gathered(found, pictures, cards)
    return coco_eval.evaluate(pictures.split, found)


def _gathered(
    found: Iterable[tuple[int, Detections]], pictures: Pictures, cards: Cards
) -> Iterator[tuple[int, Detections]]:
    """Yield what all cards found; their places in the split, unlike ids, are exact in float32."""
    ids = [sample.image_id for sample in pictures.split.samples]
    places = {number: place for place, number in enumerate(ids)}
    rows = [
        np.column_stack([np.full(len(d), places[i]), d.labels, d.scores, d.boxes]) for i, d in found
    ]
    table = cards.gather(np.concatenate([np.zeros((0, 7)), *rows]).astype(np.float32))
    for place in np.unique(table[:, 0]).astype(int):
        part = table[table[:, 0] == place]
        yield ids[place], Detections(part[:, 3:], part[:, 2], part[:, 1].astype(np.int32))


def detect(
    net: Network,
    recipe: Recipe,
    genome: Genome,
    pictures: Pictures,
    *,
    columns: Sequence[int] | None = None,
    cards: Cards = ALONE,
    progress: bool = True,
) -> Iterator[tuple[int, Detections]]:
    """Yield (image id, detections in stored pixels) of every picture of a split, once.

    Pictures padded to the same size follow each other; the order is that of the split where
    all have one size.

    Args:
        columns: the detector's class for each class of the split; None for the same ones.
            Its other classes are not looked at.
        cards: each takes its share of the pictures.
    """
    levels = genome.levels
    indices = range(cards.rank, len(pictures.split.samples), cards.count)
    # No more than a training step holds, which needs more memory for each.
    most = min(BATCH, recipe.training.batch // recipe.training.accumulate)
    steps = list(_batches(pictures, indices, 1 << max(levels), most))
    grids = {
        frame: (recipe.anchor_boxes(levels, frame), recipe.anchor_levels(levels, frame))
        for frame in dict.fromkeys(frame for frame, _ in steps)
    }
    first = int(recipe.model.resolved_semantics().background)
    for frame, batch in _bar(steps, progress):
        fitted = [pictures[index] for index in batch]
        logits, deltas = _forward(net, frame, [picture for picture, _ in fitted], most)
        logits = logits[:, :, first:]
        scores = sigmoid(logits if columns is None else logits[:, :, list(columns)])
        for slot, (index, (_, placement)) in enumerate(zip(batch, fitted, strict=True)):
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
    net: Network, frame: tuple[int, int], pictures: Sequence[Pixels], most: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logits and deltas of up to ``most`` pictures padded to (height, width)."""
    images = np.zeros((most, 3, *frame), np.float32)  # one shape, one graph
    for slot, picture in enumerate(pictures):
        images[slot] = normalise(picture, frame)
    logits, deltas = (output.asnumpy() for output in net(as_tensor(images)))
    return logits[: len(pictures)], deltas[: len(pictures)]


def _batches(
    pictures: Pictures, chosen: Iterable[int], coarsest_stride: int, most: int
) -> Iterator[_Batch]:
    """Yield (height, width) of the input and up to ``most`` pictures padded to it."""
    frames: dict[tuple[int, int], list[int]] = {}
    for index in chosen:
        frames.setdefault(pictures.frame(index, coarsest_stride), []).append(index)
    for frame, indices in frames.items():
        for start in range(0, len(indices), most):
            yield frame, indices[start : start + most]


def _bar(steps: list[_Batch], progress: bool) -> Iterable[_Batch]:
    hidden = None if progress else True  # None: unless standard error is no terminal
    bar: Iterable[_Batch] = tqdm(steps, desc="evaluate", unit="batch", disable=hidden, leave=False)
    return bar


def score_checkpoint(
    path: Path,
    data: Path,
    split: str,
    *,
    protocol: str = "coco",
    stacks: int | None = None,
    engine: str | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Return COCO's figures of a checkpoint or exported file on a split of a data set.

    Categories are compared by name: the split may have fewer than the checkpoint, and in
    another order.

    Args:
        protocol: a key of ``protocols.PROTOCOLS``.
        stacks: of the pyramid, cut after so many; None for all. Of use where it was trained
            with ``deep_supervision``.
        engine: what an exported file runs in, see ``registry.ENGINES``; None for the usual.

    Raises:
        RecipeError: there are fewer stacks.
        CheckpointError: the file is not a whole checkpoint, or lacks a category of the split.
        DataError: the split cannot be read, or the protocol leaves no picture of it.
        EngineError: the engine is not there or refuses; or the file has thresholds inside
            that are not the protocol's.
    """
    engine = engine_of(path, engine)
    if path.suffix != ".ckpt":
        return _score_file(
            Detector.load(path, engine, stacks=stacks),
            path,
            load_split(data, split),
            protocol,
            progress,
        )
    arrays, origin = checkpoint.load_weights(path)
    truth = load_split(data, split)
    columns = _columns(origin.categories, truth)
    chosen = PROTOCOLS[protocol]
    recipe = replace(origin.recipe, detection=chosen.detection or origin.recipe.detection)
    net = build_detector(recipe, origin.genome, len(origin.categories), stacks=stacks)
    checkpoint.restore(net, arrays, path)
    pictures = Pictures(select(truth, chosen), recipe.image_size(origin.genome.levels), recipe.data)
    return score(net, recipe, origin.genome, pictures, columns=columns, progress=progress)


def _score_file(
    detector: Detector, path: Path, truth: CocoSplit, protocol: str, progress: bool
) -> dict[str, float]:
    about, chosen = detector.description, PROTOCOLS[protocol]
    rule = chosen.detection or about.detection
    if about.suppressed and rule != about.detection:
        raise EngineError(
            f"a file that suppresses keeps its own thresholds, got {protocol} ({path})"
        )
    columns = _columns(detector.names, truth)
    pictures = Pictures(select(truth, chosen), about.size, about.data)
    samples = pictures.split.samples
    steps = list(_batches(pictures, range(len(samples)), about.stride, BATCH))

    def found() -> Iterator[tuple[int, Detections]]:
        for _, batch in _bar(steps, progress):
            fitted = [pictures[index] for index in batch]
            results = detector.find(fitted, rule=rule, columns=columns)
            yield from zip((samples[index].image_id for index in batch), results, strict=True)

    return coco_eval.evaluate(pictures.split, found())


def _columns(known: tuple[str, ...], truth: CocoSplit) -> list[int]:
    missing = [name for name in truth.categories if name not in known]
    if missing:
        raise CheckpointError(
            f"the data set has categories of the checkpoint only ({', '.join(known)}), got "
            f"{', '.join(missing)} (at {truth.annotation_file})"
        )
    return [known.index(name) for name in truth.categories]
