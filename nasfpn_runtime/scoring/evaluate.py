"""From a trained detector to COCO's figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.cluster.cards import ALONE, Cards
from nasfpn_runtime.data.dataset import Split, load_split
from nasfpn_runtime.errors import CheckpointError, EngineError
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.inference.engines.base import BATCH
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.recipe.settings import DetectionRule
from nasfpn_runtime.scoring import coco_eval
from nasfpn_runtime.scoring.protocols import PROTOCOLS, select


def score(
    detector: Detector,
    pictures: Pictures,
    *,
    rule: DetectionRule | None = None,
    columns: Sequence[int] | None = None,
    cards: Cards = ALONE,
    progress: bool = True,
) -> dict[str, float]:
    """Return COCO's figures of a detector on a split (see :func:`detect`).

    Args:
        cards: each looks at a part of the pictures; all return the figures of all.
    """
    found = detect(detector, pictures, rule=rule, columns=columns, cards=cards, progress=progress)
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
    detector: Detector,
    pictures: Pictures,
    *,
    rule: DetectionRule | None = None,
    columns: Sequence[int] | None = None,
    cards: Cards = ALONE,
    progress: bool = True,
) -> Iterator[tuple[int, Detections]]:
    """Yield (image id, detections in stored pixels) of every picture of a split, once.

    Pictures padded to the same size follow each other; the order is that of the split where
    all have one size.

    Args:
        rule, columns: see ``Detector.find``.
        cards: each takes its share of the pictures.
    """
    samples = pictures.split.samples
    indices = range(cards.rank, len(samples), cards.count)
    steps = list(_batches(pictures, indices, detector.description.stride))
    hidden = None if progress else True  # None: unless standard error is no terminal
    for batch in tqdm(steps, desc="evaluate", unit="batch", disable=hidden, leave=False):
        fitted = [pictures[index] for index in batch]
        found = detector.find(fitted, rule=rule, columns=columns)
        yield from zip((samples[index].image_id for index in batch), found, strict=True)


def _batches(
    pictures: Pictures, chosen: Iterable[int], coarsest_stride: int
) -> Iterator[list[int]]:
    """Yield pictures padded to one size, up to ``BATCH``; a single one if there is only one."""
    frames: dict[tuple[int, int], list[int]] = {}
    for index in chosen:
        frames.setdefault(pictures.frame(index, coarsest_stride), []).append(index)
    for indices in frames.values():
        for batch in np.array_split(indices, -(-len(indices) // BATCH)):
            yield batch.tolist()


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
    detector, truth = Detector.load(path, engine, stacks=stacks), load_split(data, split)
    about, chosen = detector.description, PROTOCOLS[protocol]
    rule = chosen.detection or about.detection
    if about.suppressed and rule != about.detection:
        raise EngineError(
            f"a file that suppresses keeps its own thresholds, got {protocol} ({path})"
        )
    columns = _columns(detector.names, truth)
    pictures = Pictures(select(truth, chosen), about.size, about.data)
    return score(detector, pictures, rule=rule, columns=columns, progress=progress)


def _columns(known: tuple[str, ...], truth: Split) -> list[int]:
    missing = [name for name in truth.categories if name not in known]
    if missing:
        raise CheckpointError(
            f"the data set has categories of the checkpoint only ({', '.join(known)}), got "
            f"{', '.join(missing)} (at {truth.annotation_file})"
        )
    return [known.index(name) for name in truth.categories]
