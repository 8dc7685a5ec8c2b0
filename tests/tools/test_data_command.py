"""``nasfpn data``: what each command writes and prints, and its exit code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import predict_stub
from nasfpn_runtime.data.dataset import check_same_categories, load_split
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.inference.detector import Detector
from tools.cli import main


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "drawn"
    counts = ["--train", "3", "--val", "2", "--test", "1"]
    assert main(["data", "synth", str(folder), "--size", "32", *counts]) == 0
    return folder


def break_one(folder: Path) -> None:
    """Give the first box of the training split a width of 0."""
    file = folder / "annotations" / "instances_train2017.json"
    data = json.loads(file.read_text())
    data["annotations"][0]["bbox"][2] = 0
    file.write_text(json.dumps(data))


def test_create_check_and_show(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "record"
    assert main(["data", "create", str(drawn), "-o", str(out), "--shards", "2"]) == 0
    printed = capsys.readouterr()
    assert "train: 3/3" in printed.err
    assert "no faults" in printed.out
    assert (out / "faults.txt").read_text() == ""
    for folder in (drawn, out):
        assert main(["data", "check", str(folder)]) == 0
        table = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert sorted(table[0]) == ["test", "train", "val"]
        assert sorted(table[1])[:3] == ["1", "2", "3"]
    assert main(["data", "show", str(out), "-o", str(tmp_path / "a.png"), "--count", "2"]) == 0
    assert (tmp_path / "a.png").stat().st_size > 0
    assert capsys.readouterr().out.startswith("2 images")


def test_faults_are_an_exit_code_of_check_and_a_file_of_create(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "drawn", tmp_path / "record"
    main(["data", "synth", str(folder), "--size", "32", "--train", "2", "--val", "1"])
    break_one(folder)
    capsys.readouterr()
    assert main(["data", "check", str(folder), "--splits", "train"]) == 1
    assert "1 x box without area, dropped: annotations[0]" in capsys.readouterr().out
    assert main(["data", "check", str(folder), "--splits", "val"]) == 0
    args = ["data", "create", str(folder), "-o", str(out), "--splits", "train", "val"]
    assert main([*args, "--format", "coco"]) == 0
    assert "box without area: annotations[0]" in (out / "faults.txt").read_text()
    assert main(["data", "check", str(out)]) == 0
    assert len(load_split(out).truth.box) == len(load_split(folder).truth.box)


@pytest.mark.parametrize("change", ["order", "name"])
def test_categories_that_training_refuses_are_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    folder = tmp_path / "drawn"
    counts = ["--train", "3", "--val", "4", "--test", "1"]
    main(["data", "synth", str(folder), "--size", "32", *counts])
    file = folder / "annotations" / "instances_val2017.json"
    data = json.loads(file.read_text())
    first, second, _ = data["categories"]
    if change == "order":
        first["name"], second["name"] = second["name"], first["name"]
    else:
        first["name"] = "disc"
    file.write_text(json.dumps(data))
    capsys.readouterr()
    assert main(["data", "check", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert "faults in val:\n1 x other categories than train, stops training: " in printed
    assert "circle, square, triangle" in printed
    with pytest.raises(DataError) as refused:
        check_same_categories(load_split(folder), load_split(folder, "val"))
    assert str(refused.value) in printed
    for split in ("train", "val"):
        assert main(["data", "check", str(folder), "--splits", split]) == 0


def test_check_says_which_splits_there_are(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["data", "check", str(drawn)])
    assert "\nsplits: test, train, val\n" in capsys.readouterr().out
    main(["data", "check", str(drawn), "--splits", "test"])
    assert "splits" not in capsys.readouterr().out
    folder = tmp_path / "drawn"
    shutil.copytree(drawn, folder)
    (folder / "annotations" / "instances_val2017.json").unlink()
    assert main(["data", "check", str(folder)]) == 0
    assert "\nsplits: test, train; training also needs val\n" in capsys.readouterr().out
    (folder / "annotations" / "instances_test2017.json").unlink()
    assert main(["data", "check", str(folder)]) == 0
    line = "\nsplits: train; training also needs val: see nasfpn data split\n"
    assert line in capsys.readouterr().out


def write_form(drawn: Path, folder: Path, form: str) -> Path:
    """Write the drawn dataset as a COCO or a YOLO folder."""
    if form == "coco":
        return shutil.copytree(drawn, folder)
    for name in ("train", "val", "test"):
        split = load_split(drawn, name)
        shutil.copytree(drawn / f"{name}2017", folder / "images" / name)
        (folder / "labels" / name).mkdir(parents=True)
        for sample in split.samples:
            x1, y1, x2, y2 = (sample.boxes / 32).T
            rows = np.stack([sample.labels, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1)
            lines = "".join(f"{int(row[0])} {' '.join(map(str, row[1:]))}\n" for row in rows)
            (folder / "labels" / name / f"{sample.path.stem}.txt").write_text(lines)
    (folder / "data.yaml").write_text(f"names: [{', '.join(split.categories)}]\n")
    return folder


def without_boxes(folder: Path, split: str) -> None:
    """Remove the annotations of a split: in COCO's file, or the folder of YOLO's labels."""
    if (labels := folder / "labels" / split).exists():
        shutil.rmtree(labels)
        return
    file = folder / "annotations" / f"instances_{split}2017.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "annotations": []}))


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_a_test_split_without_boxes_is_no_fault(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    folder = write_form(drawn, tmp_path / form, form)
    main(["data", "check", str(folder)])
    before = capsys.readouterr().out
    without_boxes(folder, "test")
    assert main(["data", "check", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "test has no boxes" not in before
    (line,) = (line for line in printed.splitlines() if line.startswith("test has no boxes"))
    assert f"nasfpn predict MODEL --data {folder} --split test --json FILE" in line
    columns = before.splitlines()[0].split()
    other = [index for index, name in enumerate(columns) if name != "test"]
    for row, expected in zip(printed.splitlines()[:7], before.splitlines()[:7], strict=True):
        cells, old = (line.rsplit(maxsplit=len(columns)) for line in (row, expected))
        assert [cells[-len(columns) :][i] for i in other] == [
            old[-len(columns) :][i] for i in other
        ]
    record = tmp_path / "record"
    assert main(["data", "create", str(folder), "-o", str(record), "--shards", "1"]) == 0
    assert main(["data", "check", str(record)]) == 0
    assert "test has no boxes" in capsys.readouterr().out
    split = load_split(record, "test", needs_boxes=False)
    assert (len(split.samples), len(split.truth.label)) == (1, 0)
    assert split.samples[0].read().shape == (32, 32, 3)


def test_a_training_split_without_boxes_is_a_fault(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(drawn, tmp_path / "drawn")
    without_boxes(folder, "val")
    assert main(["data", "check", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert "faults in val:\n1 x no image has a box, stops training: " in printed
    assert printed.splitlines()[0].split() == ["test", "train", "val"]
    assert main(["data", "create", str(folder), "-o", str(tmp_path / "record")]) == 2


def test_a_split_without_boxes_is_not_scored(
    drawn: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Detector, "load", lambda *_, **options: predict_stub.detector())
    folder = shutil.copytree(drawn, tmp_path / "drawn")
    without_boxes(folder, "test")
    args = ["eval", "--checkpoint", "m.onnx", "--data", str(folder), "--split", "test"]
    assert main(args) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"nasfpn: error: cannot score split test of {folder}: ")
    assert f"nasfpn predict m.onnx --data {folder} --split test --json FILE" in line


def test_a_picture_that_ends_early_is_found_by_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "drawn"
    main(["data", "synth", str(folder), "--size", "64", "--train", "2"])
    picture = folder / "train2017" / "000002.png"
    picture.write_bytes(picture.read_bytes()[:2000])
    assert load_split(folder).faults == ()
    assert main(["data", "check", str(folder), "--splits", "train"]) == 1
    assert re.search(r"1 x \w+ file unreadable, stops training", capsys.readouterr().out)


def test_mistakes_are_one_line(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mistakes = {
        "annotations/": ["check", str(tmp_path)],
        str(tmp_path / "gone"): ["check", str(tmp_path / "gone")],
        "exists": ["create", str(drawn), "-o", str(tmp_path)],
        "'nope'": ["check", str(drawn), "--splits", "nope"],
        "--out must end in .png, .svg or .pdf, got sheet.txt": [
            "show",
            str(drawn),
            "-o",
            "sheet.txt",
        ],
    }
    for message, args in mistakes.items():
        assert main(["data", *args]) == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        assert error.splitlines()[-1].startswith("nasfpn: error: ")
        assert message in error.splitlines()[-1]
