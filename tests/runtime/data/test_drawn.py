"""The drawn data set: same seed same bytes, tight boxes, nothing half written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasfpn_runtime.data import drawn as shapes
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.drawn import CATEGORIES, draw_picture, write_shapes
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.image import read_image


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


def test_it_is_a_data_set_without_faults(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", train=12, val=2, test=2, size=64)
    for split, count in (("train", 12), ("val", 2), ("test", 2)):
        found = load_split(tmp_path / "data", split)
        assert (len(found.samples), found.faults) == (count, ())
        assert found.categories == CATEGORIES
        assert all(read_image(s.path).shape == (64, 64, 3) for s in found.samples)


def test_shapes_lie_in_their_boxes_and_reach_their_sides() -> None:
    for label in range(3):
        for seed in range(20):
            rng = np.random.default_rng(seed)
            outline = shapes._place(label, 128, [], rng)
            assert outline is not None
            cover = shapes._cover(outline, 128)[:, :, 0]
            rows, columns = np.nonzero(cover > 0)
            seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            # Drawing rounds to quarter pixels, the extent to whole ones.
            np.testing.assert_allclose(shapes._box(outline), seen, atol=1.25)
            # Shoelace formula against the pixels covered; the outline is drawn on quarter
            # pixels, so that up to a quarter pixel is gained along the edge.
            x, y = outline.T
            area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
            edge = np.hypot(*(outline - np.roll(outline, 1, axis=0)).T).sum()
            assert abs(cover.sum() - area) <= edge / 4 + 1


def test_boxes_are_inside_apart_and_of_all_sizes() -> None:
    sides = []
    for seed in range(60):
        picture, found = draw_picture(64, np.random.default_rng(seed))
        assert (picture.shape, picture.dtype) == ((64, 64, 3), np.dtype(np.uint8))
        for place, (label, box) in enumerate(found):
            assert 0 <= label < len(CATEGORIES)
            assert 0 <= box[0] < box[2] <= 64
            assert 0 <= box[1] < box[3] <= 64
            sides.append(max(box[2] - box[0], box[3] - box[1]))
            for _, other in found[:place]:
                gap = np.maximum(box[:2] - other[2:], other[:2] - box[2:])
                assert gap.max() > 0
    # Log-uniform from 1/12 to 6/12 of the picture: all of 100 draws miss a given quarter
    # with a probability of 0.75 ** 100 = 3e-13.
    assert len(sides) > 100
    assert min(sides) >= 64 / 12 - 1e-9
    assert max(sides) <= 64 * 6 / 12 + 1e-9
    assert min(sides) < 64 / 12 * 6**0.25
    assert max(sides) > 64 / 12 * 6**0.75


def test_a_stopped_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "data"
    draw = shapes.draw_picture
    calls = []

    def stop_late(size: int, rng: np.random.Generator) -> object:
        assert not target.exists()  # a kill that nothing can catch would leave none either
        calls.append(size)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return draw(size, rng)

    monkeypatch.setattr(shapes, "draw_picture", stop_late)
    with pytest.raises(KeyboardInterrupt):
        write_shapes(target, train=2, val=2, test=2, size=32)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(DataError, match=r"goes to a new folder, got .* which exists"):
        write_shapes(tmp_path, train=1, val=1, test=1, size=32)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
