"""``nasfpn data convert``: what it prints, and its mistakes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from formats import add_val, draw, make
from nasfpn_runtime.data.dataset import load_split
from random_sets import write_random
from tools.cli import main


def test_it_says_what_is_not_kept_and_renamed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_random(tmp_path / "source", 3), tmp_path / "out"
    given = load_split(source)
    assert main(["data", "convert", str(source), "-o", str(out), "--form", "yolo"]) == 0
    printed = capsys.readouterr()
    assert f"train: {len(given.samples)}/{len(given.samples)}" in printed.err
    crowds = int(given.truth.crowd.sum())
    assert f"not kept, since yolo has no place for them: {crowds} crowd regions," in printed.out
    boxes = int((~given.truth.crowd).sum())
    assert f"boxes {boxes}" in " ".join(printed.out.split())
    assert ("partly outside the image, clipped" in printed.out) == bool(given.faults)
    assert f"yolo  {out}" in printed.out
    assert main(["data", "convert", str(source), "-o", f"{out}2", "--form", "coco"]) == 0
    printed = capsys.readouterr()
    assert "not kept" not in printed.out
    assert "corners of boxes differ by at most 0 px" in printed.out
    assert len(load_split(Path(f"{out}2")).truth.box) == crowds + boxes


def test_renamed_images_are_counted_and_the_first_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = add_val(make(tmp_path, "coco", draw(0)), "coco")
    out = tmp_path / "out"
    assert main(["data", "convert", str(source), "-o", str(out), "--form", "voc"]) == 0
    (line,) = (x for x in capsys.readouterr().out.splitlines() if "images renamed" in x)
    assert line.startswith("6 images renamed: 000000.png is val2017_000000.png, ")
    assert line.endswith(", ...")


@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_a_test_split_without_boxes_is_written_too(tmp_path: Path, form: str) -> None:
    source = make(tmp_path, "coco", draw(0))
    shutil.copytree(source / "train2017", source / "test2017")
    data = json.loads((source / "annotations" / "instances_train2017.json").read_text())
    file = source / "annotations" / "instances_test2017.json"
    file.write_text(json.dumps({**data, "annotations": []}))
    assert main(["data", "convert", str(source), "-o", str(tmp_path / "o"), "--form", form]) == 0
    made = load_split(tmp_path / "o", "test", needs_boxes=False)
    assert len(made.samples) == 6
    assert len(made.truth.box) == 0


def test_only_the_named_splits_are_written(tmp_path: Path) -> None:
    source = add_val(make(tmp_path, "yolo", draw(0)), "yolo")
    args = ["data", "convert", str(source), "-o", str(tmp_path / "out"), "--form", "coco"]
    assert main([*args, "--splits", "val", "--format", "yolo", "--link"]) == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["annotations", "val"]
    assert all(path.is_symlink() for path in (tmp_path / "out" / "val").iterdir())


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make(tmp_path, "coco", draw(0))
    mistakes = {
        "exists": [source, "-o", source],
        "'nope'": [source, "-o", tmp_path / "out", "--splits", "nope"],
        str(tmp_path / "gone"): [tmp_path / "gone", "-o", tmp_path / "out"],
    }
    for message, args in mistakes.items():
        assert main(["data", "convert", *map(str, args), "--form", "voc"]) == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        assert error.splitlines()[-1].startswith("nasfpn: error: ")
        assert message in error.splitlines()[-1]
    assert os.listdir(tmp_path) == ["coco"]
