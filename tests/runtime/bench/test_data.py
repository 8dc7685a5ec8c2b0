"""``nasfpn bench data``: what it times, and how it reports failures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from nasfpn_runtime.bench import data as bench_data
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.errors import ProcessError
from nasfpn_runtime.pictures.image import read_image
from tools.cli import main

# Replaces the model zoo's src/dataset.py: the two functions that are called, and the settings that
# they read.
STAND_IN = """
import sys, types
import numpy as np
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
config = types.SimpleNamespace(coco_classes=[])
written = []

class Batches:
    def __init__(self, batch, repeat):
        self.batch, self.repeat = batch, repeat
    def get_dataset_size(self):
        return 2 * self.repeat
    def create_tuple_iterator(self, num_epochs, output_numpy):
        assert output_numpy and num_epochs == 1
        for _ in range(self.get_dataset_size()):
            yield (np.zeros((self.batch, 3, 4, 4)),)

def data_to_mindrecord_byte_image(dataset, is_training, file_num):
    assert (dataset, is_training, file_num) == ("coco", True, 1)
    assert options["--train_data_type"] == "train2017"
    assert config.coco_classes == ["background", "circle", "square", "triangle"]
    written.append(options["--mindrecord_dir"] + "/retinanet.mindrecord")

def create_retinanet_dataset(path, batch, repeat, num_parallel_workers, is_training):
    assert written == [path] and is_training and num_parallel_workers >= 1
    return Batches(batch, repeat)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_data, "DRAWN", 9)
        bench_data.draw_pictures(folder)
    return folder


def checkout(folder: Path, content: str) -> Path:
    (folder / "src").mkdir()
    (folder / "src" / "dataset.py").write_text(content)
    return folder


@pytest.mark.slow
def test_drawn_images_have_cocos_size_and_boxes_around_the_shapes(data: Path) -> None:
    split = load_split(data)
    assert not split.faults
    assert re.search(r"\b9 .*640x480", bench_data.described(data))
    inside, outside = [], []
    for sample in split.samples:
        assert (sample.height, sample.width) == (480, 640)
        assert 1 <= len(sample.boxes) <= 7
        grey = read_image(sample.path).astype(float).mean(axis=2)
        outside.append(np.quantile(grey, 0.1))
        for x1, y1, x2, y2 in sample.boxes.astype(int).tolist():
            inside.append(np.median(grey[y1:y2, x1:x2]))
    # The background is 30 to 110, shapes are 150 to 255; a triangle covers half of its box.
    assert np.median(inside) > np.median(outside) + 40


@pytest.mark.slow
def test_both_pipelines_are_timed(data: Path, tmp_path: Path) -> None:
    speeds = bench_data.compare(data, checkout(tmp_path, STAND_IN), 1)
    assert list(speeds) == ["project", "modelzoo"]
    assert all(len(runs) == 1 and runs[0] > 0 for runs in speeds.values())


@pytest.mark.slow
def test_a_pipeline_that_fails_is_named_with_its_error(data: Path, tmp_path: Path) -> None:
    folder = checkout(tmp_path, "import cv3")
    with pytest.raises(ProcessError, match=r"modelzoo .*: ModuleNotFoundError.*'cv3'"):
        bench_data.compare(data, folder, 1)


def test_the_command_prints_medians_and_their_ratio(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    speeds = {"project": [300.0, 500.0, 400.0], "modelzoo": [90.0, 80.0, 70.0]}
    monkeypatch.setattr(bench_data, "compare", lambda *_: speeds)
    folder = checkout(tmp_path, STAND_IN)
    assert main(["bench", "data", "--data", str(data), "--modelzoo", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "project      400   (300 500 400)",
        "modelzoo      80   (90 80 70)",
        "ratio       5.00",
    ]
    assert main(["bench", "data", "--data", str(data), "--modelzoo", str(data)]) == 2
    assert re.search(rf"--modelzoo .*src/dataset\.py, got {data}", capsys.readouterr().err)
