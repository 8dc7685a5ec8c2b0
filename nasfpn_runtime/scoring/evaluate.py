"""Score a detector on a split of a dataset by COCO's metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.cluster.cards import ALONE, Cards
from nasfpn_runtime.data.dataset import Split, load_split, reason_for_none
from nasfpn_runtime.errors import CheckpointError, DataError, EngineError
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.inference.engines.base import BATCH
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.progress import Progress, say, waiting
from nasfpn_runtime.recipe.settings import DetectionRule
from nasfpn_runtime.scoring import coco_eval
from nasfpn_runtime.scoring.protocols import PROTOCOLS, select
from search_space.names import shown, unique

SLOW = 500  # images whose metrics may take pycocotools more than a second


def score(
    detector: Detector,
    pictures: Pictures,
    *,
    rule: DetectionRule | None = None,
    classes: Sequence[int] | None = None,
    cards: Cards = ALONE,
    progress: bool = True,
) -> dict[str, float]:
    """Return COCO's metrics of a detector on a split; see :func:`detect`.

    In each image, as many detections of a class count as the rule allows in an image
    (``maximum``).

    Args:
        cards: cards that detect in a part of the images each. All of them return the metrics of
            the whole split.
    """
    results = detect(detector, pictures, rule=rule, classes=classes, cards=cards, progress=progress)
    if cards.count > 1:
        results = _gather(results, pictures, cards)
    detections = list(results)
    slow = len(pictures.split.samples) >= SLOW
    with waiting("computing COCO's metrics", shown=progress and slow):
        most = (rule or detector.description.detection).maximum
        return coco_eval.evaluate(pictures.split, detections, most)


def _gather(
    results: Iterable[tuple[int, Detections]], pictures: Pictures, cards: Cards
) -> Iterator[tuple[int, Detections]]:
    """Yield the results of all cards.

    They are exchanged as float32. Indices in the split are exact in float32; image ids may not
    be.
    """
    ids = [sample.image_id for sample in pictures.split.samples]
    indices = {image_id: index for index, image_id in enumerate(ids)}
    rows = [
        np.column_stack([np.full(len(d), indices[i]), d.labels, d.scores, d.boxes])
        for i, d in results
    ]
    table = cards.gather(np.concatenate([np.zeros((0, 7)), *rows]).astype(np.float32))
    for index in np.unique(table[:, 0]).astype(int):
        part = table[table[:, 0] == index]
        yield ids[index], Detections(part[:, 3:], part[:, 2], part[:, 1].astype(np.int32))


def detect(
    detector: Detector,
    pictures: Pictures,
    *,
    rule: DetectionRule | None = None,
    classes: Sequence[int] | None = None,
    cards: Cards = ALONE,
    progress: bool = True,
) -> Iterator[tuple[int, Detections]]:
    """Yield (image id, detections in pixels of the stored image) for every image of a split.

    Images are in the order of the split, except that images padded to the same size come
    together.

    Args:
        rule, classes: see ``Detector.find``.
        cards: cards among which the images are divided; only those of this card are yielded.
    """
    samples = pictures.split.samples
    indices = range(cards.rank, len(samples), cards.count)
    batches = batches_by_frame(pictures, indices, detector.description.stride)
    with Progress("evaluate", "image", len(indices), shown=progress, leave=False) as bar:
        for batch in batches:
            fitted = [pictures[index] for index in batch]
            detections = detector.find(fitted, rule=rule, classes=classes)
            bar.advance(len(batch))
            yield from zip((samples[index].image_id for index in batch), detections, strict=True)


def batches_by_frame(
    pictures: Pictures, indices: Iterable[int], coarsest_stride: int, most: int = BATCH
) -> Iterator[list[int]]:
    """Yield the indices of images in batches of at most ``most`` that are padded to one size.

    The batches of a size are as equal as possible: a batch has a single image only if no other
    image has its size.
    """
    frames: dict[tuple[int, int], list[int]] = {}
    for index in indices:
        frames.setdefault(pictures.frame(index, coarsest_stride), []).append(index)
    for same_frame in frames.values():
        for batch in np.array_split(same_frame, -(-len(same_frame) // most)):
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
    """Return COCO's metrics of a checkpoint or exported file on a split of a dataset.

    Categories are matched by name: the split may have fewer than the checkpoint, and in another
    order.

    Args:
        protocol: a key of ``protocols.PROTOCOLS``.
        stacks: number of stacks of the pyramid to keep; None for all. Fewer make sense only if
            the checkpoint was trained with ``deep_supervision``.
        engine: engine for the file, see ``registry.ENGINES``; None for the default.
        progress: report on standard error what is being done.

    Raises:
        RecipeError: the pyramid has fewer stacks.
        CheckpointError: the file is not a complete checkpoint, or lacks a category of the split.
        DataError: the split cannot be read or has no boxes, or the protocol selects none of its
            images.
        EngineError: the engine cannot run the file, or the file applies thresholds that are not
            the protocol's.
        MissingPackageError: the engine is not installed.
    """
    with waiting(f"loading {path}", shown=progress):
        detector = Detector.load(path, engine, stacks=stacks, progress=progress)
    with waiting(f"reading {data}", shown=progress):
        about, chosen = detector.description, PROTOCOLS[protocol]
        truth = load_split(data, split, reading=about.data.reading, needs_boxes=False)
    if not len(truth.with_boxes):
        raise DataError(
            f"cannot score split {split} of {data}: no image has a box, "
            f"{reason_for_none(truth.faults)}; to write detections for it: nasfpn predict {path} "
            f"--data {data} --split {split} --json FILE"
        )
    rule = chosen.detection or about.detection
    if about.suppressed and rule != about.detection:
        raise EngineError(
            f"cannot score {path} by the protocol {protocol}: the file suppresses with thresholds "
            "of its own; export it without --with-nms"
        )
    classes = class_indices(detector.names, truth)
    pictures = Pictures(select(truth, chosen), about.size, about.data)
    metrics = score(detector, pictures, rule=rule, classes=classes, progress=progress)
    if progress:
        for line in coco_eval.doubts(metrics):
            say(f"warning: {line} (split {split} of {data})")
    return metrics


def class_indices(known: tuple[str, ...], truth: Split) -> list[int]:
    """Return the detector's class index of each category of the split.

    Of several classes with one name, the first is the first of the other side, and so on.
    """
    keys = unique(known)
    missing = [name for name in unique(truth.categories) if name not in keys]
    if missing:
        raise CheckpointError(
            "categories of the dataset must be among the checkpoint's "
            f"({', '.join(map(shown, known))}), got {', '.join(map(shown, missing))} "
            f"(at {truth.annotation_file})"
        )
    return [keys.index(name) for name in unique(truth.categories)]
