"""From a network's outputs to figures, with a network that knows the answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mindspore import Tensor

from nasfpn_runtime.anchors import anchor_grid
from nasfpn_runtime.boxes import encode, iou
from nasfpn_runtime.config import Recipe, from_dict
from nasfpn_runtime.data.coco import CocoSplit, load_split
from nasfpn_runtime.data.image import normalise
from nasfpn_runtime.data.loader import Pictures
from nasfpn_runtime.data.shapes import CATEGORIES, write_shapes
from nasfpn_runtime.evaluate import BATCH, build, detect, score, sigmoid
from search_space import Genome, MergingCell

GENOME = Genome(tuple(MergingCell(level, "sum", (0, 1, 2)) for level in (3, 4, 5)), (3, 4, 5))
LEVELS = (3, 4, 5)
SIZE = (64, 128)  # what 50 x 100 is rounded up to, in multiples of 32
SURE = 20.0


def recipe(fit: str) -> Recipe:
    sections = {
        "model": {"backbone": "resnet10", "width": 2, "channels": 4, "stacks": 1, "head_convs": 0},
        "data": {"image": [50, 100], "fit": fit},
    }
    return from_dict({"name": "test", **sections}, "test")


class Oracle:
    """A network that gives the truth of a split, picture by picture as it is asked.

    The background's logit, and everything in slots without a picture, says "an object".
    """

    def __init__(self, split: CocoSplit, fit: str) -> None:
        self.pictures = Pictures(split, SIZE, fit)
        self.anchors = anchor_grid(LEVELS, SIZE)
        self.wrong = 0  # added to every class
        self.training = True
        self.asked = 0

    def set_train(self, mode: bool) -> None:
        self.training = mode

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert images.shape == (BATCH, 3, *SIZE)
        logits = np.full((BATCH, len(self.anchors), 1 + len(CATEGORIES)), SURE, np.float32)
        deltas = np.zeros((BATCH, len(self.anchors), 4), np.float32)
        for slot in range(min(BATCH, len(self.pictures.split.samples) - self.asked)):
            picture, _ = self.pictures[self.asked]
            np.testing.assert_array_equal(images[slot].asnumpy(), normalise(picture, SIZE))
            self._answer(self.asked, logits[slot], deltas[slot])
            self.asked += 1
        return Tensor(logits), Tensor(deltas)

    def _answer(self, index: int, logits: Any, deltas: Any) -> None:
        sample = self.pictures.split.samples[index]
        boxes = self.pictures[index][1].forward(sample.boxes)
        logits[:, 1:] = -SURE
        free = np.ones(len(self.anchors), bool)
        for number, label in enumerate(sample.labels):
            overlap = iou(boxes[number : number + 1], self.anchors)[0]
            anchor = int(np.where(free, overlap, -1).argmax())
            free[anchor] = False
            logits[anchor, 1 + (label + self.wrong) % len(CATEGORIES)] = SURE
            own = slice(anchor, anchor + 1)
            deltas[own] = encode(boxes[number : number + 1], self.anchors[own])


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    """Eleven pictures: a whole batch and three more."""
    folder = tmp_path_factory.mktemp("shapes") / "data"
    write_shapes(folder, train=1, val=BATCH + 3, test=1, size=96)
    return load_split(folder, "val")


@pytest.mark.parametrize("fit", ["letterbox", "squash"])
def test_the_truth_scores_one(split: CocoSplit, fit: str) -> None:
    oracle = Oracle(split, fit)
    metrics = score(oracle, recipe(fit), GENOME, split, progress=False)  # type: ignore[arg-type]
    assert oracle.asked == len(split.samples)
    assert not oracle.training
    for name in ("AP", "AP50", "AP75", *(f"AP/{category}" for category in CATEGORIES)):
        assert metrics[name] == pytest.approx(1)


def test_the_wrong_class_scores_nothing(split: CocoSplit) -> None:
    oracle = Oracle(split, "squash")
    oracle.wrong = 1
    metrics = score(oracle, recipe("squash"), GENOME, split, progress=False)  # type: ignore[arg-type]
    assert metrics["AP50"] == 0  # shapes do not overlap


@pytest.mark.parametrize("fit", ["letterbox", "squash"])
def test_detections_are_in_stored_pixels_and_named_by_picture(split: CocoSplit, fit: str) -> None:
    oracle = Oracle(split, fit)
    found = list(detect(oracle, recipe(fit), GENOME, split, progress=False))  # type: ignore[arg-type]
    assert [image_id for image_id, _ in found] == [s.image_id for s in split.samples]
    for sample, (_, detections) in zip(split.samples, found, strict=True):
        assert len(detections) == len(sample.boxes)
        mine = np.lexsort(np.rint(sample.boxes).T)
        theirs = np.lexsort(np.rint(detections.boxes).T)
        np.testing.assert_allclose(detections.boxes[theirs], sample.boxes[mine], atol=0.01)
        np.testing.assert_array_equal(detections.labels[theirs], sample.labels[mine])
        assert np.all(detections.scores > 0.99)


def test_a_detector_has_a_logit_a_category_and_one_for_the_background() -> None:
    net = build(recipe("squash"), GENOME, categories=3)
    assert net.head.classes.outputs == 4
    assert net.head.boxes.predict.weight.shape[0] == 9 * 4


def test_sigmoid_does_not_overflow() -> None:
    x = np.array([-1e4, -100, -1, 0, 1, 100, 1e4], np.float32)
    e = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(sigmoid(x), [0, 0, 1 - e, 0.5, e, 1, 1], atol=1e-7)
