"""The sheet of images with their boxes."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasfpn_runtime.data.dataset import Split, load_split
from nasfpn_runtime.data.sheet import draw_sheet
from nasfpn_runtime.errors import DataError
from search_space.fonts import BOX as MISSING
from tiny_font import system_fonts, write_font

CAT = "\u732b"
BOX = (30, 20, 40, 25)  # x, y, width, height px


def write(folder: Path, count: int = 1) -> Split:
    """Write white images of 100 x 80 px with a black rectangle where their box is."""
    (folder / "annotations").mkdir()
    (folder / "train").mkdir()
    x, y, w, h = BOX
    pixels = np.full((80, 100, 3), 255, np.uint8)
    pixels[y : y + h, x : x + w] = 0
    for number in range(count):
        Image.fromarray(pixels).save(folder / "train" / f"{number}.png")
    images = [{"id": n, "file_name": f"{n}.png", "width": 100, "height": 80} for n in range(count)]
    annotations = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": BOX, "iscrowd": int(n == 1)}
        for n in range(count)
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(data))
    return load_split(folder)


def extent(mask: np.ndarray) -> np.ndarray:
    """Return x1, y1, x2, y2 of the set pixels, as pixel edges."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def test_a_box_is_drawn_around_its_object(tmp_path: Path) -> None:
    assert draw_sheet(write(tmp_path), tmp_path / "sheet.png") == 1
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    # tab10's first colour is (31, 119, 180).
    coloured = np.abs(sheet - (31, 119, 180)).max(axis=2) < 40
    black = sheet.max(axis=2) < 20
    black[: sheet.shape[0] // 5] = False  # the title
    inside = extent(black)
    width, height = inside[2] - inside[0], inside[3] - inside[1]
    # The label has the same colour but is shorter than the lines of the box.
    columns = np.flatnonzero(coloured.sum(axis=0) > 0.9 * height)
    rows = np.flatnonzero(coloured.sum(axis=1) > 0.9 * width)
    box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    # A line is 0.8 pt = 1.7 px wide at 150 dpi, half of it on either side of the edge.
    np.testing.assert_allclose(box, inside, atol=2.5)
    # 450 px show at most 100 px, so the object is enlarged at least 3.5 times.
    assert width > 3.5 * BOX[2]


@pytest.mark.parametrize("installed", [False, True])
def test_names_of_any_characters_are_drawn(
    tmp_path: Path, installed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    split = replace(write(tmp_path), categories=(f"{CAT} $x^$", "dog"))
    font = write_font(tmp_path / "tiny.ttf", CAT)
    with system_fonts(*[font] * installed), warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_sheet(split, tmp_path / "sheet.svg")
        capsys.readouterr()
        draw_sheet(split, tmp_path / "sheet.svg")
        assert capsys.readouterr().err == ""  # a missing font is named once
    drawn = (tmp_path / "sheet.svg").read_text()
    assert f"{CAT if installed else MISSING} $x^$" in drawn  # as a comment above the outlines


@pytest.mark.slow
def test_the_number_of_images_is_limited_and_returned(tmp_path: Path) -> None:
    split = write(tmp_path, count=9)
    for asked, drawn in ((1, 1), (5, 5), (50, 9)):
        assert draw_sheet(split, tmp_path / "sheet.svg", asked) == drawn
    for count in (0, 101):
        with pytest.raises(DataError, match=f"sheet .* 1 .* 100, got {count}$"):
            draw_sheet(split, tmp_path / "sheet.svg", count)
