"""Scoring from a network's outputs to metrics, with a network that knows the ground truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor

from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.data.dataset import Split, load_split
from nasfpn_runtime.data.drawn import CATEGORIES, write_shapes
from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.inference.description import describe
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.inference.engines import mindspore
from nasfpn_runtime.inference.engines.base import BATCH
from nasfpn_runtime.inference.engines.mindspore import NetworkEngine
from nasfpn_runtime.inference.postprocess import sigmoid
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.pictures.anchors import anchor_grid
from nasfpn_runtime.pictures.boxes import encode, iou
from nasfpn_runtime.pictures.image import normalise
from nasfpn_runtime.recipe.recipe import Recipe, from_dict
from nasfpn_runtime.recipe.settings import DetectionRule
from nasfpn_runtime.scoring import evaluate
from nasfpn_runtime.scoring.evaluate import batches_by_frame, class_indices, detect, score
from search_space import Genome, MergingCell

GENOME = Genome(tuple(MergingCell(level, "sum", (0, 1, 2)) for level in (3, 4, 5)), (3, 4, 5))
LEVELS = (3, 4, 5)
SIZE = (64, 128)  # 50 x 100 rounded up to multiples of 32
SURE = 20.0


def recipe(fit: str, pad: str = "image", **box_code: Any) -> Recipe:
    sections = {
        "model": {"backbone": "resnet10", "width": 2, "channels": 4, "stacks": 1, "head_convs": 0},
        "data": {"image": [50, 100], "fit": fit, "pad": pad},
        "box_code": box_code,
    }
    return from_dict({"name": "test", **sections}, "test")


class Oracle:
    """A network that returns the ground truth of a split, image by image in their order.

    The logits of the background class, and all logits of empty images that fill up a batch, are
    high: they must not be used.
    """

    def __init__(
        self,
        split: Split,
        recipe: Recipe,
        frame: tuple[int, int] = SIZE,
        categories: tuple[str, ...] = CATEGORIES,
    ) -> None:
        self.pictures = Pictures(split, SIZE, recipe.data)
        self.frame, self.categories, self.code = frame, categories, recipe.box_code
        self.anchors = anchor_grid(LEVELS, frame)
        self.shift = 0  # added to every class index, to make it wrong
        self.training = True
        self.seen = 0

    def set_train(self, mode: bool) -> None:
        self.training = mode

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert images.shape == (BATCH, 3, *self.frame)
        logits = np.full((BATCH, len(self.anchors), 1 + len(self.categories)), SURE, np.float32)
        deltas = np.zeros((BATCH, len(self.anchors), 4), np.float32)
        for slot in range(BATCH):
            if not images[slot].asnumpy().any():
                continue  # an empty image that fills up the batch
            picture, _ = self.pictures[self.seen]
            np.testing.assert_array_equal(images[slot].asnumpy(), normalise(picture, self.frame))
            self._fill(self.seen, logits[slot], deltas[slot])
            self.seen += 1
        return Tensor(logits), Tensor(deltas)

    def _fill(self, index: int, logits: Any, deltas: Any) -> None:
        sample = self.pictures.split.samples[index]
        boxes = self.pictures[index][1].forward(sample.boxes)
        logits[:, 1:] = -SURE
        free = np.ones(len(self.anchors), bool)
        for number, label in enumerate(sample.labels):
            overlap = iou(boxes[number : number + 1], self.anchors)[0]
            anchor = int(np.where(free, overlap, -1).argmax())
            free[anchor] = False
            name = self.pictures.split.categories[label]
            column = self.categories.index(name) + self.shift
            logits[anchor, 1 + column % len(self.categories)] = SURE
            own = slice(anchor, anchor + 1)
            deltas[own] = encode(boxes[number : number + 1], self.anchors[own], self.code)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Return a split of eleven images: more than a batch, and not a multiple of it."""
    folder = tmp_path_factory.mktemp("shapes") / "data"
    write_shapes(folder, train=1, val=BATCH + 3, test=1, size=96)
    return load_split(folder, "val")


def metrics_of(
    oracle: Oracle, recipe: Recipe, classes: list[int] | None = None
) -> dict[str, float]:
    return score(detector(oracle, recipe), oracle.pictures, classes=classes, progress=False)


def detector(oracle: Oracle, recipe: Recipe) -> Detector:
    net: Any = oracle
    engine = NetworkEngine(net, recipe, GENOME)
    return Detector(engine, describe(recipe, GENOME, oracle.categories))


@pytest.mark.parametrize(
    ("fit", "pad", "frame"),
    # The input is 64 x 128: a square image letterboxed to it has 64 x 64.
    [("letterbox", "image", SIZE), ("squash", "image", SIZE), ("letterbox", "picture", (64, 64))],
)
def test_the_ground_truth_scores_one(
    split: Split, fit: str, pad: str, frame: tuple[int, int]
) -> None:
    settings = recipe(fit, pad)
    oracle = Oracle(split, settings, frame)
    metrics = metrics_of(oracle, settings)
    assert oracle.seen == len(split.samples)
    assert not oracle.training
    for name in ("AP", "AP50", "AP75", *(f"AP/{category}" for category in CATEGORIES)):
        assert metrics[name] == pytest.approx(1)


def test_boxes_are_decoded_by_the_recipes_code(split: Split) -> None:
    settings = recipe("squash", order="xywh", variances=[0.1, 0.2], clip="none")
    assert metrics_of(Oracle(split, settings), settings)["AP"] == pytest.approx(1)
    assert metrics_of(Oracle(split, settings), recipe("squash"))["AP"] < 0.1


def test_the_wrong_class_scores_nothing(split: Split) -> None:
    oracle = Oracle(split, recipe("squash"))
    oracle.shift = 1
    assert metrics_of(oracle, recipe("squash"))["AP50"] == 0  # the drawn objects do not overlap


def test_images_padded_to_the_same_size_share_batches(split: Split) -> None:
    # Every second image is declared twice as wide as high, which makes it 64 x 128 letterboxed.
    samples = [replace(s, width=s.width * (1 + i % 2)) for i, s in enumerate(split.samples)]
    pictures = Pictures(replace(split, samples=tuple(samples)), SIZE, recipe("letterbox").data)
    assert list(batches_by_frame(pictures, range(11), 32)) == [[*range(6)], [*range(6, 11)]]
    assert list(batches_by_frame(pictures, range(9), 32)) == [[*range(5)], [*range(5, 9)]]
    pictures = Pictures(pictures.split, SIZE, recipe("letterbox", "picture").data)
    even, odd = list(range(0, 11, 2)), list(range(1, 11, 2))
    assert list(batches_by_frame(pictures, range(11), 32)) == [even, odd]


MORE = ("lamp", *reversed(CATEGORIES), "boat")  # categories of a detector that knows more


def test_a_detector_of_more_categories_is_scored_by_name(split: Split) -> None:
    settings = recipe("squash")
    classes = [MORE.index(name) for name in CATEGORIES]
    assert metrics_of(Oracle(split, settings, categories=MORE), settings, classes)["AP"] == (
        pytest.approx(1)
    )
    oracle = Oracle(split, settings, categories=MORE)
    oracle.shift = 1  # the last category becomes "boat", which is not scored
    assert metrics_of(oracle, settings, classes)["AP"] == 0


def test_classes_of_one_name_are_matched_in_their_order(split: Split) -> None:
    truth = replace(split, categories=("fish", "fish", "cat"))
    assert class_indices(("cat", "fish", "dog", "fish"), truth) == [1, 3, 0]
    with pytest.raises(CheckpointError, match=r"\(cat, fish\), got fish \(2\) "):
        class_indices(("cat", "fish"), truth)


@pytest.fixture
def checkpoints(split: Split, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return ``score(recipe, categories, protocol)``, for a checkpoint that knows the truth."""

    def score_one(settings: Recipe, known: tuple[str, ...], protocol: str) -> dict[str, float]:
        origin = Origin(settings, GENOME, known, seed=0, epoch=1)
        monkeypatch.setattr(checkpoint, "load_weights", lambda path: ({}, origin))
        monkeypatch.setattr(checkpoint, "restore", lambda *_: None)
        oracle = Oracle(split, settings, categories=known)
        monkeypatch.setattr(mindspore, "build_network", lambda *_, stacks: oracle)
        folder = split.annotation_file.parents[1]
        return evaluate.score_checkpoint(
            Path("a.ckpt"), folder, "val", protocol=protocol, progress=False
        )

    return score_one


def test_a_checkpoint_is_scored_by_name(checkpoints: Callable[..., Any]) -> None:
    for known in (CATEGORIES, MORE):
        assert checkpoints(recipe("squash"), known, "coco")["AP"] == pytest.approx(1)
    with pytest.raises(CheckpointError, match=f"got {MORE[1]} "):
        checkpoints(recipe("squash"), MORE[2:], "coco")


def test_a_protocol_replaces_the_thresholds(checkpoints: Callable[..., Any]) -> None:
    nothing = replace(recipe("squash"), detection=DetectionRule(score=1.0))
    assert checkpoints(nothing, CATEGORIES, "coco")["AP"] == 0
    assert checkpoints(nothing, CATEGORIES, "modelzoo")["AP"] == pytest.approx(1)


@pytest.mark.parametrize("maximum", [2, 300])
def test_as_many_detections_count_as_the_rule_allows(split: Split, maximum: int) -> None:
    settings = replace(recipe("squash"), detection=DetectionRule(maximum=maximum))
    metrics = metrics_of(Oracle(split, settings), settings)
    assert [name for name in metrics if name[:2] == "AR" and name[2:].isdecimal()] == (
        ["AR1", "AR2"] if maximum == 2 else ["AR1", "AR10", "AR300"]
    )
    objects = [min(len(sample.boxes), maximum) for sample in split.samples]
    share = sum(objects) / sum(len(sample.boxes) for sample in split.samples)
    assert (share < 1) == (maximum == 2)  # some images have three objects or more
    assert (metrics[f"AR{maximum}"] == pytest.approx(1)) == (maximum == 300)


@pytest.mark.parametrize("fit", ["letterbox", "squash"])
def test_detections_are_in_stored_pixels_and_have_their_image_id(split: Split, fit: str) -> None:
    oracle = Oracle(split, recipe(fit))
    results = list(detect(detector(oracle, recipe(fit)), oracle.pictures, progress=False))
    assert [image_id for image_id, _ in results] == [s.image_id for s in split.samples]
    for sample, (_, detections) in zip(split.samples, results, strict=True):
        assert len(detections) == len(sample.boxes)
        mine = np.lexsort(np.rint(sample.boxes).T)
        theirs = np.lexsort(np.rint(detections.boxes).T)
        np.testing.assert_allclose(detections.boxes[theirs], sample.boxes[mine], atol=0.01)
        np.testing.assert_array_equal(detections.labels[theirs], sample.labels[mine])
        assert np.all(detections.scores > 0.99)


def test_sigmoid_does_not_overflow() -> None:
    x = np.array([-1e4, -100, -1, 0, 1, 100, 1e4], np.float32)
    e = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(sigmoid(x), [0, 0, 1 - e, 0.5, e, 1, 1], atol=1e-7)
