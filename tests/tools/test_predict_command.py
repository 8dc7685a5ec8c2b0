"""``nasfpn predict``: exit codes, streams, and the files that Ctrl-C leaves."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

import predict_stub
from locations import HELPERS, ROOT
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.predict.loop import Tally
from tools.cli import main
from tools.predict import summary

# The command with the stub's detector, which prints a line for each batch and takes a while.
SLOW = f"""
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
sys.path[:0] = [{str(HELPERS)!r}]
import predict_stub
from nasfpn_runtime.inference import detector
def load(*_, **options):
    made = predict_stub.detector()
    find = made.find
    def slow(*args, **options):
        print("batch", file=sys.stderr, flush=True)
        time.sleep(0.05)
        return find(*args, **options)
    made.find = slow
    return made
detector.Detector.load = load
from tools.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    image = Image.new("RGB", (60, 40), "white")
    image.paste((255, 0, 0), (10, 10, 30, 20))
    for name in ("1.png", "b.jpg", "more/b.jpg"):
        image.save(folder / name)
    return folder


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the path of a file that loads as the stub: a detector of red boxes."""
    monkeypatch.setattr(Detector, "load", lambda *_, **options: predict_stub.detector())
    return str(tmp_path / "model.onnx")


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_missing_file_is_reported_and_the_others_are_processed(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, missing = tmp_path / "out", str(tmp_path / "missing.jpg")
    assert main(["predict", model, str(photos / "1.png"), missing, "-o", str(out)]) == 1
    error = capsys.readouterr().err
    assert f"no such file: {missing}\n" in error
    assert "1 files skipped" in error
    assert files(out) == ["1.png"]
    assert main(["predict", model, missing, "-o", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()


def test_the_summary_has_the_counts_of_all_classes(
    model: str, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = Counter({f"class {number}": 200 - number for number in range(91)})
    line = summary(Tally(boxes=counts))
    assert all(f", {count} {name}, " in line for name, count in counts.items())
    monkeypatch.setattr("tools.predict.summary", lambda tally: line)
    assert main(["predict", model, str(photos / "b.jpg"), "--no-pictures"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == line


def test_pictures_results_and_a_summary(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, results = tmp_path / "out", tmp_path / "results.json"
    args = ["predict", model, str(photos), "-o", str(out), "--json", str(results)]
    assert main(args) == 0
    assert files(out) == ["1.png", "b.jpg", "more/b.jpg"]
    entries = json.loads(results.read_text())
    assert [entry["image_id"] for entry in entries] == [1, "b", "more/b"]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("\n3 frames, 3 boxes, 3 mark, 0 files skipped\n")
    # Nothing is overwritten, not even by the same command.
    assert main(args) == 2
    assert str(out) in capsys.readouterr().err.splitlines()[-1]


def test_names_that_meet_are_told_apart(model: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    inputs = [str(photos / "b.jpg"), str(photos / "more" / "b.jpg")]
    assert main(["predict", model, *inputs, "-o", str(out)]) == 0
    assert files(out) == ["b-2.jpg", "b.jpg"]


def test_a_pipe_gets_results_and_nothing_else(
    model: str,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [photos / "b.jpg", photos / "broken.jpg", photos / "1.png"]
    names[1].write_bytes(b"\xff\xd8\xff")
    monkeypatch.chdir(tmp_path)
    lines = io.BytesIO(b"".join(os.fsencode(name) + b"\n" for name in names))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(lines))
    assert main(["predict", model, "-", "--json", "-", "--no-pictures", "--batch", "1"]) == 1
    printed = capsys.readouterr()
    assert [entry["image_id"] for entry in json.loads(printed.out)] == ["b", 1]
    started, *lines, summary = printed.err.splitlines()
    (skipped,) = (line for line in lines if line.startswith("skipped "))
    assert started == f"predict: {model} on -"
    assert skipped.startswith(f"skipped {names[1]}: ")
    assert summary == "2 frames, 2 boxes, 2 mark, 1 files skipped"
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_scores_are_above_the_one_that_is_asked_for(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for score, count in (("0.89", 3), ("0.91", 0)):
        args = ["predict", model, str(photos), "--no-pictures", "--json", "-", "--score", score]
        assert main(args) == 0
        assert len(json.loads(capsys.readouterr().out)) == count


def test_mistakes_are_one_line(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture = str(photos / "1.png")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.onnx").write_text("not a model")
    mistakes = {
        "no.ckpt": ["no.ckpt", picture],
        "a.onnx": ["a.onnx", picture],
        "model.pth": ["model.pth", picture],
        "no such file: nothing.jpg": ["a.onnx", "nothing.jpg"],
        str(tmp_path / "empty"): ["a.onnx", str(tmp_path / "empty")],
        f"{photos}": ["a.onnx", picture, "-o", str(photos)],
        f"- must be the only INPUT, got - {picture}": ["a.onnx", "-", picture],
        "got mindspore": ["a.onnx", picture, "--engine", "mindspore"],
        "--device must be CPU for the engine onnxruntime, got Ascend": [
            "a.onnx",
            picture,
            "--device",
            "Ascend",
        ],
    }
    (tmp_path / "empty").mkdir()
    for message, args in mistakes.items():
        assert main(["predict", *args]) == 2, message
        error = capsys.readouterr().err
        assert "Traceback" not in error
        assert error.splitlines()[-1].startswith("nasfpn: error: ")
        assert message in error.splitlines()[-1]
    assert files(tmp_path) == ["a.onnx", *(f"photos/{name}" for name in files(photos))]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_whole_pictures_and_nothing_else(
    number: signal.Signals, photos: Path, tmp_path: Path
) -> None:
    for copy in range(300):
        Image.new("RGB", (200, 200), (255, 0, 0)).save(photos / f"{copy:03}.png")
    out, results = tmp_path / "out", tmp_path / "results.json"
    results.write_text("of an earlier run")
    inputs = ["predict", "a.onnx", str(photos), "-o", str(out), "--json", str(results)]
    command = [sys.executable, "-c", SLOW, *inputs, "--batch", "2", "--overwrite"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("predict: ")
        for _ in range(5):
            assert process.stderr.readline() == "batch\n"
        process.send_signal(number)
        error = process.stderr.read()
    assert process.returncode == 128 + number
    assert "Traceback" not in error
    assert "Stopped." in error
    assert results.read_text() == "of an earlier run"
    written = files(out)
    assert 8 <= len(written) < 300
    for name in written:
        assert not Path(name).name.startswith(".")
        with Image.open(out / name) as picture:
            picture.load()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos", "results.json"]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a COCO folder with a split ``test`` without boxes: two images with a red mark."""
    folder = tmp_path / "set"
    (folder / "annotations").mkdir(parents=True)
    (folder / "test2017").mkdir()
    images = []
    for number, name in ((900, "a.png"), (12, "b.png")):
        predict_stub.marked_image().save(folder / "test2017" / name)
        images.append({"id": number, "file_name": name, "width": 60, "height": 40})
    categories = [{"id": 77, "name": "other"}, {"id": 5, "name": "mark"}]
    data = {"images": images, "annotations": [], "categories": categories}
    (folder / "annotations" / "instances_test2017.json").write_text(json.dumps(data))
    return folder


def test_a_split_without_boxes_gets_results_with_its_own_ids(
    model: str, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results.json"
    args = ["predict", model, "--data", str(dataset), "--split", "test", "--json", str(results)]
    assert main(args) == 0
    entries = json.loads(results.read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in entries] == [(900, 5), (12, 5)]
    assert capsys.readouterr().err.endswith("\n2 frames, 2 boxes, 2 mark, 0 files skipped\n")
    assert not (tmp_path / "predictions").exists()
    assert main(args) == 2  # the results exist
    out = tmp_path / "out"
    assert main([*args[:4], "-o", str(out)]) == 0  # the split is the test split by default
    assert files(out) == ["a.png", "b.png"]


def test_images_of_a_dataset_are_never_replaced(model: str, dataset: Path) -> None:
    image = dataset / "test2017" / "a.png"
    before = image.read_bytes()
    args = ["predict", model, "--data", str(dataset), "--overwrite"]
    assert main([*args, "--json", str(image)]) == 2
    assert main([*args, "-o", str(image.parent)]) == 2
    assert image.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either INPUT or --data"),
        (["a.png", "--data", "{data}", "--json", "r.json"], "either INPUT or --data"),
        (["a.png", "--split", "val"], "--split val without"),
        (["--data", "{data}"], "--json FILE or --out DIR"),
        (["--data", "{data}", "-o", "x", "--no-pictures"], "--json FILE or --out DIR"),
        (["--data", "{data}", "--split", "nope", "--json", "r.json"], "'nope'"),
        (["--data", "{data}", "--json", "x/1.png", "-o", "x"], "--json must not be an image"),
    ],
)
def test_inputs_and_a_dataset_exclude_each_other(
    model: str,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    predict_stub.marked_image().save("a.png")
    before = files(tmp_path)
    assert main(["predict", model, *(a.format(data=dataset) for a in arguments)]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert files(tmp_path) == before


def test_inputs_may_follow_options(model: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["predict", model, "-o", str(out), str(photos / "1.png")]) == 0
    assert main(["predict", "-o", str(out), "--overwrite", model, str(photos)]) == 0
    assert files(out) == ["1.png", "b.jpg", "more/b.jpg"]
