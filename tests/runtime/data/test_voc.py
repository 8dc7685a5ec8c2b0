"""VOC folders: their pixel coordinates, faults, and XML that must not be parsed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from formats import (
    HEIGHT,
    NAMES,
    WIDTH,
    Drawn,
    add_line,
    assert_one_fault,
    draw,
    make,
    write_lines,
    write_voc,
)
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.samples import Fault
from nasfpn_runtime.data.voc import MOST_BYTES
from nasfpn_runtime.errors import DataError


def edit_first(folder: Path, change: Callable[[str], str]) -> None:
    """Change the text of the first annotation file."""
    path = folder / "Annotations" / "000000.xml"
    path.write_text(change(path.read_text()))


def xml_object(name: str = "cat", box: tuple[object, ...] = (1, 1, 5, 5)) -> str:
    """Return an ``<object>`` and the end of the annotation."""
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
    return f"<object><name>{name}</name><bndbox>{inner}</bndbox></object></annotation>"


def ending_in(tail: str) -> Callable[[Path], None]:
    """Return a function that replaces the end of the first annotation."""
    return lambda folder: edit_first(folder, lambda text: text.replace("</annotation>", tail))


def listed(name: str) -> Callable[[Path], None]:
    """Return a function that adds a name to the list of the split."""
    return lambda folder: add_line(folder / "ImageSets" / "Main" / "train.txt", name)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (ending_in(xml_object(box=(5, 1, 4, 9))), "box without area @ 000000.xml object[3]"),
        (ending_in(xml_object(box=("x", 1, 4, 9))), "box is not four finite numbers @"),
        (ending_in(xml_object(box=(70, 1, 80, 9))), "box outside the image @"),
        (ending_in(xml_object(box=(0, 1, 4, 9))), "box partly outside the image @"),
        (listed("000001"), "image id repeated @ 000001.xml (id 2)"),
        (listed("gone"), "annotation file missing or unreadable @ gone.xml"),
        (listed("../../outside"), "file name outside the image folder @"),
        (listed("/etc/hostname"), "file name outside the image folder @"),
    ],
)
def test_a_fault_is_one_line_and_leaves_the_rest(
    tmp_path: Path, change: Callable[[Path], None], fault: str
) -> None:
    folder = make(tmp_path, "voc", draw(seed=5))
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "out.png")
    assert_one_fault(folder, change, fault)


def test_pixels_are_counted_from_one(tmp_path: Path) -> None:
    drawn = [Drawn("a", np.zeros((HEIGHT, WIDTH, 3), np.uint8), ((0, 0, WIDTH, HEIGHT, 1, False),))]
    write_voc(tmp_path, drawn)
    text = (tmp_path / "Annotations" / "a.xml").read_text()
    assert "<xmin>1</xmin><ymin>1</ymin><xmax>64</xmax><ymax>32</ymax>" in text
    assert load_split(tmp_path).samples[0].boxes.tolist() == [[0, 0, 64, 32]]


def test_a_category_that_is_not_listed_is_a_fault(tmp_path: Path) -> None:
    folder = make(tmp_path, "voc", draw(seed=5))
    write_lines(folder / "classes.txt", list(NAMES))
    ending_in(xml_object("emu"))(folder)
    assert [f.kind for f in load_split(folder).faults] == ["category unknown"]
    (folder / "classes.txt").unlink()
    assert load_split(folder).categories == ("cat", "dog", "emu", "owl")


BOMB = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))


@pytest.mark.parametrize(
    "head",
    [
        f'<!DOCTYPE a [<!ENTITY e0 "x">{BOMB}]>',
        '<!DOCTYPE a [<!ENTITY e11 SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE a [<!ENTITY e11 "x">]>',  # harmless, but no annotation needs it
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_with_entities_is_refused(tmp_path: Path, head: str, encoding: str) -> None:
    folder = make(tmp_path, "voc", draw(seed=5))
    text = (folder / "Annotations" / "000002.xml").read_text()
    text = head + text.replace("<filename>", "<filename>&e11;")
    (folder / "Annotations" / "000002.xml").write_bytes(text.encode(encoding))
    expected = Fault("annotation file missing or unreadable", "000002.xml", "dropped")
    assert load_split(folder).faults == (expected,)


def test_the_size_of_xml_is_limited(tmp_path: Path) -> None:
    folder = make(tmp_path, "voc", draw(seed=5))
    edit_first(folder, lambda text: text + " " * MOST_BYTES)
    assert [f.where for f in load_split(folder).faults] == ["000000.xml"]


def test_a_size_of_zero_is_replaced_by_that_of_the_image(tmp_path: Path) -> None:
    folder = make(tmp_path, "voc", draw(seed=5))
    edit_first(folder, lambda text: text.replace("<width>64<", "<width>0<"))
    split = load_split(folder)
    assert split.faults == ()
    assert (split.samples[0].width, split.samples[0].height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    "points",
    [
        "<x1>5</x1><y1>3</y1><x2>9</x2><y2>3</y2><x3>9</x3><y3>8</y3>",
        "<pt><x>5</x><y>3</y></pt><pt><x>9</x><y>3</y></pt><pt><x>9</x><y>8</y></pt>",
    ],
)
def test_an_object_without_a_box_has_that_around_its_polygon(tmp_path: Path, points: str) -> None:
    """Pixels count from 1, so the box is from 5 - 1, 3 - 1 to 9, 8."""
    folder = make(tmp_path, "voc", draw(seed=5))
    item = f"<object><name>cat</name><polygon>{points}</polygon></object></annotation>"
    ending_in(item)(folder)
    split = load_split(folder)
    assert split.faults == ()
    assert split.samples[0].boxes.tolist()[-1] == [4, 2, 9, 8]
    assert [n.action for n in split.notes] == ["box around its outline"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"<annotations><image/></annotations>", r"<annotations> in a\.xml, .* another format"),
        (b'<?xml version="1.0" encoding="gbk"?><annotation/>', r"encodings .*a\.xml"),
    ],
)
def test_why_there_is_no_category_is_said(tmp_path: Path, content: bytes, named: str) -> None:
    """The first is CVAT's own format."""
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(DataError, match=named):
        load_split(tmp_path, "all")
