"""COCO's list of results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO

import predict_stub
from nasfpn_runtime.data.coco_names import by_id, by_order
from nasfpn_runtime.errors import DataError, OutputError
from nasfpn_runtime.outputs import output_text
from nasfpn_runtime.predict.results import CocoResults, PictureFolder
from predict_stub import marked_image, run_predict


def test_results_are_in_cocos_format_and_load_in_its_tools(tmp_path: Path) -> None:
    detector = predict_stub.detector((120, 120))
    names = ["000000000139.png", "139.png", "a.png", "empty.png"]
    for name in names[:3]:
        marked_image().save(tmp_path / name)
    Image.new("RGB", (5, 5)).save(tmp_path / names[3])
    file = tmp_path / "sub" / "results.json"
    with output_text(str(file)) as stream:
        results = CocoResults(stream, detector.names)
        run_predict(detector, [tmp_path / name for name in names], results)
        results.close()
        assert not file.exists()
    assert [path.name for path in file.parent.iterdir()] == ["results.json"]
    entries = json.loads(file.read_text())
    assert [entry["image_id"] for entry in entries] == [139, "139", "a"]
    assert [entry["file_name"] for entry in entries] == [str(tmp_path / n) for n in names[:3]]
    for entry in entries:
        assert (entry["category_id"], entry["category"], entry["score"]) == (1, "mark", 0.9)
        assert entry["bbox"] == pytest.approx([6, 10, 24, 16], abs=1)  # MARK as x, y, w, h
    truth = COCO()
    truth.dataset = {
        "images": [{"id": entry["image_id"]} for entry in entries],
        "categories": [{"id": 1}],
        "annotations": [],
        "info": {},
    }
    truth.createIndex()
    assert len(truth.loadRes(entries).anns) == 3


def test_the_categories_of_coco_have_its_ids(tmp_path: Path) -> None:
    with (tmp_path / "x.json").open("w") as stream:
        # instances_val2017.json: person 1, stop sign 13, toothbrush 90.
        ids = CocoResults(stream, by_order()).ids
        assert (ids[0], ids[11], ids[79]) == (1, 13, 90)
        assert CocoResults(stream, by_id()).ids == list(range(1, 91))
        assert CocoResults(stream, ("stop sign", "cat")).ids == [1, 2]
        assert CocoResults(stream, ("fish", "cat", "fish")).ids == [1, 2, 3]


def test_without_detections_the_results_are_an_empty_list(tmp_path: Path) -> None:
    with output_text(str(tmp_path / "x.json")) as stream:
        CocoResults(stream, ("a",)).close()
    assert json.loads((tmp_path / "x.json").read_text()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "old.png").touch()
    with pytest.raises(DataError, match=rf"new or empty .*got {tmp_path}"):
        PictureFolder(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(DataError, match=rf"folder, got {tmp_path}/old\.png"):
            PictureFolder(tmp_path / "old.png", overwrite=overwrite)


def test_a_picture_that_appears_meanwhile_stays(tmp_path: Path) -> None:
    marked_image().save(tmp_path / "a.png")
    folder = PictureFolder(tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_text("of another")
    with pytest.raises(OutputError, match=r"out/a\.png"):
        run_predict(predict_stub.detector(), [tmp_path / "a.png"], folder)
    assert (tmp_path / "out" / "a.png").read_text() == "of another"
