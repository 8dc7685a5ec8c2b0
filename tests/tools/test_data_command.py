"""``nasfpn data``: what each command writes and prints, and its exit code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from nasfpn_runtime.data.dataset import check_same_categories, load_split
from nasfpn_runtime.errors import DataError
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
