"""The drawn dataset: the same seed gives the same bytes, boxes are tight, writing is atomic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasfpn_runtime.data import drawn
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.drawn import (
    CATEGORIES,
    bounds,
    coverage,
    draw_picture,
    place_shape,
    write_shapes,
)
from nasfpn_runtime.errors import DataError


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_shapes(tmp_path / name, train=3, val=2, test=1, size=64, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(contents(tmp_path / "a")) == 3 + 2 + 1 + 3
    a, c = contents(tmp_path / "a"), contents(tmp_path / "c")
    assert a.keys() == c.keys()
    assert not {name for name in a if a[name] == c[name]}


def test_a_picture_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    write_shapes(tmp_path / "few", train=2, val=1, test=1, size=64)
    write_shapes(tmp_path / "more", train=4, val=3, test=1, size=64)
    few, more = contents(tmp_path / "few"), contents(tmp_path / "more")
    for name, content in few.items():
        if name.endswith(".png"):
            assert more[name] == content
    pictures = [content for name, content in more.items() if name.endswith(".png")]
    assert len(set(pictures)) == len(pictures)


def test_the_data_set_has_no_faults(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", train=12, val=2, test=2, size=64)
    for split, count in (("train", 12), ("val", 2), ("test", 2)):
        loaded = load_split(tmp_path / "data", split)
        assert (len(loaded.samples), loaded.faults) == (count, ())
        assert loaded.categories == CATEGORIES
        assert all(sample.read().shape == (64, 64, 3) for sample in loaded.samples)


def test_shapes_lie_in_their_boxes_and_reach_their_sides() -> None:
    for label in range(3):
        for seed in range(20):
            rng = np.random.default_rng(seed)
            outline = place_shape(label, 128, [], rng)
            assert outline is not None
            cover = coverage(outline, 128)[:, :, 0]
            rows, columns = np.nonzero(cover > 0)
            seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            # Drawing rounds to quarter pixels, the extent to whole pixels.
            np.testing.assert_allclose(bounds(outline), seen, atol=1.25)
            # Shoelace formula against the covered pixels. The outline is drawn on quarter
            # pixels, so up to a quarter pixel is added along the edge.
            x, y = outline.T
            area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
            edge = np.hypot(*(outline - np.roll(outline, 1, axis=0)).T).sum()
            assert abs(cover.sum() - area) <= edge / 4 + 1


def test_boxes_are_inside_and_apart_and_have_all_sizes() -> None:
    sides = []
    for seed in range(60):
        picture, shapes = draw_picture(64, np.random.default_rng(seed))
        assert (picture.shape, picture.dtype) == ((64, 64, 3), np.dtype(np.uint8))
        for index, (label, box) in enumerate(shapes):
            assert 0 <= label < len(CATEGORIES)
            assert 0 <= box[0] < box[2] <= 64
            assert 0 <= box[1] < box[3] <= 64
            sides.append(max(box[2] - box[0], box[3] - box[1]))
            for _, other in shapes[:index]:
                gap = np.maximum(box[:2] - other[2:], other[:2] - box[2:])
                assert gap.max() > 0
    # Log-uniform from 1/12 to 6/12 of the image: the probability that all of 100 draws miss a
    # given quarter of the range is 0.75 ** 100 = 3e-13.
    assert len(sides) > 100
    assert min(sides) >= 64 / 12 - 1e-9
    assert max(sides) <= 64 * 6 / 12 + 1e-9
    assert min(sides) < 64 / 12 * 6**0.25
    assert max(sides) > 64 / 12 * 6**0.75


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "data"
    draw = drawn.draw_picture
    calls = []

    def stop_late(size: int, rng: np.random.Generator) -> object:
        assert not target.exists()  # so a kill would leave no folder either
        calls.append(size)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return draw(size, rng)

    monkeypatch.setattr(drawn, "draw_picture", stop_late)
    with pytest.raises(KeyboardInterrupt):
        write_shapes(target, train=2, val=2, test=2, size=32)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(DataError, match=r"new, got .* which exists"):
        write_shapes(tmp_path, train=1, val=1, test=1, size=32)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
