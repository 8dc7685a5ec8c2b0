"""YOLO folders: faults, settings that cannot be used, layouts of exporters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from formats import HEIGHT, WIDTH, add_line, assert_one_fault, draw, make, write_lines
from nasfpn_runtime.data.dataset import load_split, split_names
from nasfpn_runtime.errors import DataError


def with_line(line: str) -> Callable[[Path], None]:
    """Return a function that adds a line to the first label file."""
    return lambda folder: add_line(folder / "labels" / "train" / "000000.txt", line)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (with_line("7 0.5 0.5 0.1 0.1"), "category unknown @ 000000.txt line 4"),
        (with_line("0.5 0.5 0.5 0.1 0.1"), "category unknown @"),
        (with_line("1 0.5 0.5 0 0.1"), "box without area @"),
        (with_line("1 0.5 0.5 -0.1 0.1"), "box without area @"),
        (with_line("1 1.5 0.5 0.1 0.1"), "box outside the image @"),
        (with_line("1 0.1 0.5 0.4 0.1"), "box partly outside the image @"),
        (with_line("1 0.1 0.5 0.4"), "box is not four finite numbers @"),
        (with_line("1 nan 0.5 0.4 0.1"), "box is not four finite numbers @"),
        (with_line("nan 0.5 0.5 0.4 0.1"), "category unknown @"),
        (
            lambda f: write_lines(f / "labels" / "train" / "lost.txt", ["0 0.5 0.5 1 1"]),
            "annotation of an unknown image @ lost.txt",
        ),
    ],
)
def test_a_fault_is_one_line_and_leaves_the_rest(
    tmp_path: Path, change: Callable[[Path], None], fault: str
) -> None:
    folder = make(tmp_path, "yolo", draw(seed=5))
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "out.png")
    assert_one_fault(folder, change, fault)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("names: [a, a]", r"got a for the ids 0 and 1 \(at .*data\.yaml\)"),
        ("names: {0: a, 2: b}", r"got {0: 'a', 2: 'b'} \(at .*yolo\)"),
        ("names: [yes, no]", r"got True; .* quotes \(at .*data\.yaml\)"),
        ("names: {0: a, 1: off}", r"got False; .* quotes \(at .*data\.yaml\)"),
        ("names: [a, ~]", r"got None; .* quotes \(at .*data\.yaml\)"),
        ("names: [a, [b]]", r"got \['b'\]; .* quotes \(at .*data\.yaml\)"),
        ("names: 5", r"names .* got 5 \(at .*yolo\)"),
        ("- a", r"got \['a'\] \(at .*data\.yaml\)"),
        ("names: [", r"YAML: .* \(at .*data\.yaml\)"),
        ("names: !!python/object:os.system {}", r"YAML: .* \(at .*data\.yaml\)"),
    ],
)
def test_settings_that_cannot_be_used_are_named(tmp_path: Path, content: str, message: str) -> None:
    folder = make(tmp_path, "yolo", draw(seed=5))
    (folder / "data.yaml").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        load_split(folder)
    assert "\n" not in str(caught.value)


def test_the_layout_of_exporters_is_read(tmp_path: Path) -> None:
    folder = make(tmp_path, "yolo", draw(seed=5))
    expected = load_split(folder).samples[0].boxes
    for name in ("images", "labels"):
        (folder / "valid").mkdir(exist_ok=True)
        (folder / name / "train").rename(folder / "valid" / name)
        (folder / name).rmdir()
    (folder / "data.yaml").write_text("val: ../valid/images\nnames: {0: cat, 1: dog, 2: owl}\n")
    assert split_names(folder) == ("val",)
    np.testing.assert_array_equal(load_split(folder, "val").samples[0].boxes, expected)


@pytest.mark.parametrize(
    ("line", "settings", "note"),
    [
        ("0 0.25 0.25 0.75 0.25 0.75 0.5", "", True),
        ("0 0.25 0.25 0.75 0.25 0.75 0.5 0.25 0.5", "", True),  # also a rotated box
        ("0 0.5 0.375 0.5 0.25 0.1 0.1 2 0.9 0.9 1", "kpt_shape: [2, 3]\n", False),
    ],
)
def test_the_box_around_a_polygon_and_before_key_points(
    tmp_path: Path, line: str, settings: str, note: bool
) -> None:
    """In an image of 64 x 32 px: x from 0.25 * 64 to 0.75 * 64, y from 0.25 * 32 to 0.5 * 32."""
    write_lines(tmp_path / "data.yaml", [f"{settings}names: [cat]"])
    write_lines(tmp_path / "labels" / "train" / "a.txt", [line])
    (tmp_path / "images" / "train").mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / "train" / "a.png")
    split = load_split(tmp_path)
    assert split.faults == ()
    assert split.samples[0].boxes.tolist() == [[16, 8, 48, 16]]
    assert [n.action for n in split.notes] == ["box around its outline"] * note


def test_a_confidence_after_the_box_is_a_fault(tmp_path: Path) -> None:
    folder = make(tmp_path, "yolo", draw(seed=5))
    assert_one_fault(folder, with_line("1 0.5 0.5 0.1 0.1 0.9"), "box is not four finite numbers @")


def test_settings_beside_the_dataset_name_its_folder(tmp_path: Path) -> None:
    folder = make(tmp_path, "yolo", draw(seed=5))
    write_lines(tmp_path / "conf" / "data.yaml", [f"path: {folder}", "names: [cat]"])
    with pytest.raises(DataError, match=rf"data\.yaml, whose path is {folder}; copy data\.yaml"):
        split_names(tmp_path / "conf")


def test_a_folder_name_of_any_length_is_looked_for(tmp_path: Path) -> None:
    folder = make(tmp_path, "yolo", draw(seed=5))
    write_lines(folder / "data.yaml", [f"train: images/{'x' * 5000}", "names: [cat]"])
    assert split_names(folder) == ("train",)
