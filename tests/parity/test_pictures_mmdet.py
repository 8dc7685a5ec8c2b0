"""Training images of mmdetection's own transforms, for the same random numbers."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from nasfpn_runtime.recipe.recipe import load_recipe

pytestmark = [pytest.mark.parity, pytest.mark.slow]


def transforms() -> list[Any]:
    """Return the transforms of retinanet_r50_fpn_crop640-50e_coco.py up to the flip."""
    from mmcv.transforms import RandomResize
    from mmdet.datasets.transforms import RandomCrop
    from mmengine.registry import init_default_scope

    init_default_scope("mmdet")  # RandomResize looks up its Resize by name
    return [
        RandomResize((640, 640), ratio_range=(0.8, 1.2), keep_ratio=True),
        RandomCrop((640, 640)),
    ]


def test_images_and_boxes_are_those_of_mmdetection(
    mmdet: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmdet.structures.bbox import HorizontalBoxes

    chain = transforms()
    recipe = load_recipe("mmdet-r50-7x256-640")
    lost = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        height, width = rng.integers(200, 700, 2).tolist()
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        corner = rng.uniform(0, 0.9, (5, 2)) * [width, height]
        sides = rng.uniform(2, 150, (5, 2))
        far = np.minimum(corner + sides, [width, height])
        boxes = np.concatenate([corner, far], axis=1).astype(np.float32)
        labels = np.arange(5, dtype=np.int32)
        draws = np.random.default_rng(seed).random(3)
        order = iter(draws[1:].tolist())
        monkeypatch.setattr(np.random, "random_sample", lambda draw=draws[0]: draw)
        monkeypatch.setattr(
            np.random, "randint", lambda low, high, order=order: int(next(order) * high)
        )
        results: dict[str, Any] = {
            "img": image,
            "gt_bboxes": HorizontalBoxes(boxes.copy()),
            "gt_bboxes_labels": labels,
        }
        for transform in chain:
            results = transform(results)
        data = recipe.data
        ours, moved, kept = data.augment.arrange(
            image,
            boxes,
            labels,
            np.random.default_rng(seed),
            data.image,
            fit=data.fit,
            interpolation=data.interpolation,
            round_up=data.round_up,
        )
        np.testing.assert_array_equal(ours, results["img"])
        assert kept.tolist() == results["gt_bboxes_labels"].tolist()
        np.testing.assert_allclose(moved, results["gt_bboxes"].tensor.numpy(), atol=1e-3)
        lost += 5 - len(kept)
    assert lost
