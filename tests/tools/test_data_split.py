"""``nasfpn data split``: what it writes and prints, and what takes the result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from formats import draw, make
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.divided import FILE
from tools.cli import main


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make(tmp_path, "coco", draw(0))


def error_of(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """Run the command, which must refuse, and return its last line."""
    capsys.readouterr()
    assert main(["data", *map(str, args)]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.splitlines()[-1]


def test_the_splits_are_counted_and_taken_by_other_commands(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    args = ["data", "split", str(source), "-o", str(out), "--val", "0.3", "--test", "0.2"]
    assert main(args) == 0
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert lines[0] == ["train", "val", "test"]
    assert lines[1] == ["images", "3", "2", "1"]
    assert f"splits  {out / FILE}" in printed
    assert main(["data", "check", str(out)]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()][:2] == lines[:2]
    assert main(["data", "show", str(out), "-o", str(tmp_path / "a.png"), "--split", "val"]) == 0
    assert (tmp_path / "a.png").stat().st_size > 0


def test_a_class_that_a_split_lacks_is_named(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = source / "annotations" / "instances_train2017.json"
    data = json.loads(file.read_text())
    last = data["annotations"][0]["category_id"] = 9
    data["categories"].append({"id": last, "name": "yak\x1b"})
    file.write_text(json.dumps(data))
    main(["data", "split", str(source), "-o", str(tmp_path / "out")])
    lacking = [
        name
        for name in ("train", "val")
        if r"yak\x1b" in load_split(tmp_path / "out", name).without_boxes
    ]
    assert len(lacking) == 1
    assert rf"no box in {lacking[0]} has the class " in capsys.readouterr().out


def test_faults_are_reported_once(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = source / "annotations" / "instances_train2017.json"
    data = json.loads(file.read_text())
    data["annotations"][0]["bbox"][2] = 0
    file.write_text(json.dumps(data))
    assert main(["data", "split", str(source), "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count("1 x box without area, dropped: annotations[0]") == 1
    assert main(["data", "check", str(tmp_path / "out")]) == 1


def test_mistakes_are_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    split = ("split", source, "-o", out)
    assert "got 0.6 and 0.4" in error_of(capsys, *split, "--val", 0.6, "--test", 0.4)
    assert "'nope'" in error_of(capsys, *split, "--from", "nope")
    assert str(tmp_path / "gone") in error_of(capsys, "split", tmp_path / "gone", "-o", out)
    assert "exists" in error_of(capsys, "split", source, "-o", source)
    assert not out.exists()
    assert main(["data", *map(str, split)]) == 0
    assert FILE in error_of(capsys, "split", out, "-o", tmp_path / "again", "--from", "train")
    shutil.rmtree(source)
    for args in (("check", out), ("create", out, "-o", tmp_path / "record")):
        assert "nasfpn data split" in error_of(capsys, *args)


@pytest.mark.parametrize("share", ["0", "1.5", "nan", "x"])
def test_a_share_out_of_range_is_named(
    source: Path, share: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["data", "split", str(source), "-o", "out", "--val", share])
    assert stop.value.code == 2
    assert f"--val: must be a number above 0, at most 1, got {share}" in capsys.readouterr().err
