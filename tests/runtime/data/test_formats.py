"""Every format of datasets gives the same samples and batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from formats import NAMES, draw, make
from nasfpn_runtime.batches.loader import TrainLoader
from nasfpn_runtime.data.dataset import Split, form_of, load_split, split_names
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.augment import Augment
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.recipe.settings import Anchors, Data, Matching, Training


def batches(split: Split) -> list[NDArray[Any]]:
    """Return the arrays of all batches of two epochs."""
    recipe = Recipe(
        "test",
        anchors=Anchors(scale=2.0, octaves=1),
        matching=Matching(0.5, 0.4),
        data=Data((32, 64), augment=Augment(hflip=0.5, scale=(0.5, 1.5), colour=0.3)),
        training=Training(batch=2),
    )
    loader = TrainLoader(split, recipe, (3, 4), seed=7)
    prepared = [batch for epoch in range(2) for batch in loader.epoch(epoch)]
    return [array for b in prepared for array in (b.images, b.sizes, b.labels, b.deltas)]


@pytest.mark.parametrize(
    ("formats", "crowds"),
    [
        (("voc", "yolo", "text", "mindrecord-coco", "mindrecord-yolo"), False),
        (("voc", "mindrecord-coco", "mindrecord-voc"), True),
    ],
)
def test_every_format_gives_the_same_samples_and_batches(
    tmp_path: Path, formats: tuple[str, ...], crowds: bool
) -> None:
    drawn = draw(seed=3, crowds=crowds)
    expected = load_split(make(tmp_path, "coco", drawn))
    assert any(len(s.crowd) for s in expected.samples) == crowds
    expected_batches = batches(expected)
    for name in formats:
        folder = make(tmp_path, name, drawn)
        assert form_of(folder) == name.partition("-")[0]
        assert split_names(folder) == ("train",)
        split = load_split(folder)
        assert split.faults == ()
        assert split.categories == NAMES
        for one, other in zip(split.samples, expected.samples, strict=True):
            assert one.path.name == other.path.name
            assert one.path.read_bytes() == other.path.read_bytes()
            np.testing.assert_array_equal(one.read(), other.read())
            for field in ("image_id", "width", "height"):
                assert getattr(one, field) == getattr(other, field), (name, field)
            for field in ("boxes", "labels", "crowd"):
                a, b = getattr(one, field), getattr(other, field)
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b, err_msg=f"{name} {field}")
        for field in ("sample", "label", "box", "area", "crowd"):
            a, b = getattr(split.truth, field), getattr(expected.truth, field)
            np.testing.assert_array_equal(a, b, err_msg=f"{name} {field}")
        for a, b in zip(batches(split), expected_batches, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    for name in ("voc", "yolo", "text", "mindrecord-coco"):
        with pytest.raises(DataError, match="nope"):
            load_split(make(tmp_path, name, draw(seed=5)), "nope")
