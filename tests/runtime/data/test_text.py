"""The text format: faults, and the background class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from formats import HEIGHT, NAMES, WIDTH, add_line, assert_one_fault, draw, make, write_lines
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.errors import DataError


def with_line(line: str) -> Callable[[Path], None]:
    """Return a function that adds a line to the list of the split."""
    return lambda folder: add_line(folder / "train.txt", line)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (with_line("gone.png 1,1,5,5,1"), "image file missing @ line 7 (id 7)"),
        (with_line("../out.png 1,1,5,5,1"), "file name outside the image folder @"),
        (with_line("/etc/hostname 1,1,5,5,1"), "file name outside the image folder @"),
        (with_line("000000.png 1,1,5,5,1"), "image id repeated @ line 7 (id 1)"),
        (with_line("extra.png 1,1,5,5,0"), "category unknown @ line 7 box[0] (image 7)"),
        (with_line("extra.png 1,1,5,5,4"), "category unknown @"),
        (with_line("extra.png 5,1,5,9,1"), "box without area @"),
        (with_line("extra.png 5,1,5,9"), "box is not four finite numbers @"),
        (with_line("broken.png 1,1,5,5,1"), "image file unreadable @"),
    ],
)
def test_a_fault_is_one_line_and_leaves_the_rest(
    tmp_path: Path, change: Callable[[Path], None], fault: str
) -> None:
    folder = make(tmp_path, "text", draw(seed=5))
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "out.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / "extra.png")
    (folder / "images" / "broken.png").write_text("not an image")
    assert_one_fault(folder, change, fault)


@pytest.mark.parametrize("first", ["background", "Background", "BACKGROUND"])
def test_a_background_in_the_list_of_names_is_class_0(tmp_path: Path, first: str) -> None:
    folder = make(tmp_path, "text", draw(seed=5))
    expected = load_split(folder)
    write_lines(folder / "classes.txt", list(NAMES))
    plain = load_split(folder)
    write_lines(folder / "classes.txt", [first, *NAMES])
    for split in (plain, load_split(folder)):
        assert split.categories == expected.categories == NAMES
        np.testing.assert_array_equal(split.truth.label, expected.truth.label)


def test_a_background_alone_is_no_category(tmp_path: Path) -> None:
    folder = make(tmp_path, "text", draw(seed=5))
    write_lines(folder / "classes.txt", ["background"])
    with pytest.raises(DataError, match=r"background, .*\(at .*classes\.txt\)"):
        load_split(folder)
