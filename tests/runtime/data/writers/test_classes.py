"""Classes and files that a format cannot hold are refused with their name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from formats import draw, make
from nasfpn_runtime.data.convert import WRITERS, convert
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.writers.common import exact
from nasfpn_runtime.errors import DataError
from records import encoded, write

FIT = ["cat", "a b", "信号", "<&>", "'", '"', "background", "null", "- x", "#", "{}", "%s"]
UNFIT = {
    "two\nlines": ["voc"],
    " cat": ["voc"],
    "cat\u3000": ["voc"],
    "": ["voc"],
    "tab\tbed": ["voc"],
    "a\x00b": ["voc"],
    "a\u2028b": ["voc"],
    "\ufeffcat": ["voc"],
    "\ud800": ["voc", "yolo"],
    "dog": ["coco", "voc", "yolo"],  # a second one
}


@pytest.mark.parametrize("name", [*FIT, *UNFIT])
@pytest.mark.parametrize("form", WRITERS)
def test_a_class_is_written_and_read_again_or_refused(tmp_path: Path, form: str, name: str) -> None:
    split = load_split(make(tmp_path, "coco", draw(0)))
    split = replace(split, categories=(name, "dog", "owl"))
    if form in UNFIT.get(name, []):
        with pytest.raises(DataError, match=f"got {name!r} .*at ".replace("\\", "\\\\")):
            convert({"train": split}, tmp_path / "out", form, progress=False)
        assert not (tmp_path / "out").exists()
    else:
        convert({"train": split}, tmp_path / "out", form, progress=False)
        assert load_split(tmp_path / "out").categories == split.categories


def test_a_file_without_a_suffix_gets_one_in_yolo(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 8), "red")
    red.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    split = write(tmp_path / "data", {"one": content, "one.dat": content}, size=(16, 8))
    for form, names in {"coco": ["one", "one.dat"], "yolo": ["one.dat.png", "one.png"]}.items():
        convert({"train": split}, tmp_path / form, form, progress=False)
        made = load_split(tmp_path / form)
        assert [sample.path.name for sample in made.samples] == names
        assert {sample.path.read_bytes() for sample in made.samples} == {content}


def test_a_file_that_yolo_does_not_know_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (16, 8)).save(tmp_path / "a.gif")
    split = write(tmp_path / "data", {"a.gif": (tmp_path / "a.gif").read_bytes()}, size=(16, 8))
    with pytest.raises(DataError, match=r"\.png .*a\.gif; convert to coco"):
        convert({"train": split}, tmp_path / "yolo", "yolo", progress=False)
    convert({"train": split}, tmp_path / "voc", "voc", progress=False)
    assert load_split(tmp_path / "voc").samples[0].path.name == "a.gif"


def test_an_image_that_cannot_be_decoded_is_copied_as_it_is(tmp_path: Path) -> None:
    noise = draw(0)[0].pixels
    half = encoded(tmp_path, "png", noise)[:600]
    split = write(tmp_path / "data", {"a.png": half}, size=noise.shape[1::-1])
    for form in WRITERS:
        convert({"train": split}, tmp_path / form, form, progress=False)
        assert load_split(tmp_path / form).samples[0].path.read_bytes() == half


@pytest.mark.parametrize(
    ("value", "written"), [(5.0, 5), (-0.5, -0.5), (1e300, 1e300), (2.0**53, 2.0**53)]
)
def test_integers_are_written_without_a_point(value: float, written: float) -> None:
    assert repr(exact(value)) == repr(written)
