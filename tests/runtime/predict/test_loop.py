"""Prediction: what is shown is what boxes refer to, and everything is accounted for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features
from pycocotools.coco import COCO
from tqdm import tqdm

import predict_stub
from locations import HELPERS, ROOT
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.predict import loop as run_module
from nasfpn_runtime.predict.inputs import InputFile
from nasfpn_runtime.predict.loop import Options, Tally, one_line, predict
from nasfpn_runtime.predict.naming import Frame
from nasfpn_runtime.predict.results import CocoResults, PictureFolder, Sink, results_file

RED = (255, 0, 0)
WIDTH, HEIGHT = 60, 40  # px as stored
MARK = (6, 10, 30, 26)  # x1, y1, x2, y2 px as stored: no symmetry takes it to itself

# Where a stored pixel (x, y) is shown. EXIF 2.3, 4.6.4 A, says where row 0 and column 0 are
# seen; 6: row 0 on the right and column 0 on top, so that x is the row and y counts from right.
SHOWN: dict[int, Callable[[int, int], tuple[int, int]]] = {
    1: lambda x, y: (x, y),
    2: lambda x, y: (WIDTH - 1 - x, y),
    3: lambda x, y: (WIDTH - 1 - x, HEIGHT - 1 - y),
    4: lambda x, y: (x, HEIGHT - 1 - y),
    5: lambda x, y: (y, x),
    6: lambda x, y: (HEIGHT - 1 - y, x),
    7: lambda x, y: (HEIGHT - 1 - y, WIDTH - 1 - x),
    8: lambda x, y: (y, WIDTH - 1 - x),
}


class Kept:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.boxes: list[list[list[float]]] = []

    def add(self, frame: Frame, found: object) -> None:
        self.frames.append(frame)
        self.boxes.append(found.boxes.tolist())  # type: ignore[attr-defined]


@pytest.fixture
def finder() -> Detector:
    """Finds what is red, in pictures that are scaled by 2 to 120 x 80 at most."""
    made: Detector = predict_stub.detector((120, 120))
    return made


def marked(width: int = WIDTH, height: int = HEIGHT, mark: tuple[int, ...] = MARK) -> Image.Image:
    image = Image.new("RGB", (width, height), (90, 120, 130))
    image.paste(RED, mark)
    return image


def look(
    detector: Detector, paths: list[Path], *sinks: Sink, batch: int = 8
) -> tuple[Tally, list[str]]:
    reports: list[str] = []
    sources = [InputFile(path, PurePath(path.name)) for path in paths]
    tally = predict(
        detector, sources, sinks, Options(batch=batch), reports.append, total=len(paths)
    )
    return tally, reports


@pytest.mark.parametrize("form", ["jpg", "png", "webp", "tif", "avif"])
def test_boxes_and_pictures_are_as_a_viewer_shows_them(
    form: str, finder: Detector, tmp_path: Path
) -> None:
    assert form != "avif" or features.check("avif")
    paths = []
    for orientation in SHOWN:
        exif = Image.Exif()
        exif[0x0112] = orientation
        paths.append(tmp_path / f"{orientation}.{form}")
        marked().save(paths[-1], exif=exif)
    kept, folder = Kept(), PictureFolder(tmp_path / "out")
    assert look(finder, paths, kept, folder)[0].skipped == 0
    x1, y1, x2, y2 = MARK
    for path, frame, boxes, place in zip(
        paths, kept.frames, kept.boxes, SHOWN.values(), strict=True
    ):
        ends = np.array([place(x1, y1), place(x2 - 1, y2 - 1)])
        expected = [*ends.min(0), *ends.max(0) + 1]
        # Twice as large for the network, where red ends within a pixel; lossy forms smear it.
        np.testing.assert_allclose(boxes, [expected], atol=1.1, err_msg=path.name)
        (written,) = (tmp_path / "out").glob(f"{path.stem}.*")
        with Image.open(written) as shown:
            corner = place(WIDTH - 1, HEIGHT - 1), place(0, 0)
            assert shown.size == tuple(np.abs(np.subtract(*corner)) + 1)
            assert not shown.getexif().get(0x0112)
            inside = np.asarray(shown.convert("RGB")).astype(int)
            left, top, right, bottom = expected
            centre = inside[(top + bottom) // 2, (left + right) // 2]
            assert np.abs(centre - RED).max() < 60, (path.name, centre)
        assert frame.pixels.shape[1::-1] == shown.size


def test_results_are_cocos_and_load_in_its_tools(finder: Detector, tmp_path: Path) -> None:
    names = ["000000000139.png", "139.png", "a.png", "empty.png"]
    for name in names[:3]:
        marked().save(tmp_path / name)
    Image.new("RGB", (5, 5)).save(tmp_path / names[3])
    file = tmp_path / "sub" / "results.json"
    with results_file(file) as stream:
        results = CocoResults(stream, finder.names)
        look(finder, [tmp_path / name for name in names], results)
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


def test_categories_of_coco_have_its_ids(finder: Detector, tmp_path: Path) -> None:
    from nasfpn_runtime.data.coco_names import by_id, by_order

    with (tmp_path / "x.json").open("w") as stream:
        # instances_val2017.json: person 1, stop sign 13, toothbrush 90.
        ids = CocoResults(stream, by_order()).ids
        assert (ids[0], ids[11], ids[79]) == (1, 13, 90)
        assert CocoResults(stream, by_id()).ids == list(range(1, 91))
        assert CocoResults(stream, ("stop sign", "cat")).ids == [1, 2]


def test_no_result_is_an_empty_list(tmp_path: Path) -> None:
    with results_file(tmp_path / "x.json") as stream:
        CocoResults(stream, ("a",)).close()
    assert json.loads((tmp_path / "x.json").read_text()) == []


def test_every_frame_of_an_animation_is_looked_at(finder: Detector, tmp_path: Path) -> None:
    places = [(x, 4, x + 10, 12) for x in (2, 20, 40)]
    frames = [marked(mark=place) for place in places]
    for suffix in ("gif", "png", "webp", "tif"):
        path = tmp_path / f"clip.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        kept = Kept()
        tally, reports = look(finder, [path], kept, PictureFolder(tmp_path / suffix))
        assert (tally.frames, reports) == (3, [])
        assert [frame.number for frame in kept.frames] == [1, 2, 3]
        np.testing.assert_allclose(np.concatenate(kept.boxes), places, atol=1.1)
        written = sorted(file.name for file in (tmp_path / suffix).iterdir())
        assert written == [f"clip-00000{n}.jpg" for n in (1, 2, 3)]


def test_the_other_eye_of_a_stereo_picture_is_no_frame(finder: Detector, tmp_path: Path) -> None:
    marked().save(tmp_path / "a.mpo", save_all=True, append_images=[marked()])
    assert look(finder, [tmp_path / "a.mpo"])[0].frames == 1


def test_a_file_that_breaks_off_is_used_up_to_there_and_reported(
    finder: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[tqdm[Any]] = []

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **(options | {"disable": False}))
            bars.append(self)

    monkeypatch.setattr(run_module, "tqdm", Bar)
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 255, (50, 50, 3), dtype=np.uint8)) for _ in range(4)]
    clip = tmp_path / "a.png"
    noise[0].save(clip, save_all=True, append_images=noise[1:])
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) * 5 // 8])  # in the third of four frames
    (tmp_path / "b.png").write_bytes(b"no picture\n")
    marked().save(tmp_path / "c.png")
    kept = Kept()
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    broken = [clip, tmp_path / "b.png", tmp_path / "missing.png", tmp_path, tmp_path / "pipe.png"]
    tally, reports = look(finder, [*broken, tmp_path / "c.png"], kept)
    assert [(frame.source.path.name, frame.number) for frame in kept.frames] == [
        ("a.png", 1),
        ("a.png", 2),
        ("c.png", None),
    ]
    assert (tally.frames, tally.skipped) == (3, 5)
    for path, report in zip(broken, reports, strict=True):
        assert report.startswith(f"skipped {path}: ")
        assert "\n" not in report
    assert (bars[0].n, bars[0].total) == (3, 3)


def test_a_picture_of_too_many_pixels_is_reported(finder: Detector, tmp_path: Path) -> None:
    # 90,250,000 of 89,478,485, in 14 kB.
    Image.new("1", (9500, 9500)).save(tmp_path / "a.png")
    tally, reports = look(finder, [tmp_path / "a.png"])
    assert (tally.frames, tally.skipped) == (0, 1)
    assert "90250000 pixels" in reports[0]


@pytest.mark.parametrize("size", [(1, 1), (40_000, 1), (1, 40_000)])
@pytest.mark.parametrize("how", ["antialias", "bilinear"])
def test_a_picture_that_cannot_be_scaled_is_reported(
    size: tuple[int, int], how: str, tmp_path: Path
) -> None:
    # MindSpore's bilinear scaling takes neither a thousandfold nor sides above 32,767.
    detector = predict_stub.detector((1024, 1024), interpolation=how, fit="squash")
    Image.new("RGB", size, RED).save(tmp_path / "a.png")
    tally, reports = look(detector, [tmp_path / "a.png"])
    assert tally.frames + len(reports) == 1
    assert (how == "antialias") <= tally.frames
    for report in reports:
        assert f"a picture can be scaled, got {size[0]} x {size[1]}" in report


def test_batches_hold_few_pixels_or_few_pictures(
    finder: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        marked().save(tmp_path / f"{number}.png")
    counts: list[int] = []
    find = finder.find
    monkeypatch.setattr(
        finder, "find", lambda fitted, **k: counts.append(len(fitted)) or find(fitted, **k)
    )
    paths = sorted(tmp_path.iterdir())
    look(finder, paths, batch=3)
    assert counts == [3, 3, 1]
    counts.clear()
    monkeypatch.setattr(run_module, "BATCH_PIXELS", 2 * WIDTH * HEIGHT)
    look(finder, paths, batch=3)
    assert counts == [2, 2, 2, 1]
    counts.clear()
    monkeypatch.setattr(run_module, "BATCH_PIXELS", 1)
    look(finder, paths, batch=3)
    assert counts == [1] * 7


def test_large_pictures_are_not_kept_until_the_next(
    finder: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "BATCH_PIXELS", WIDTH * HEIGHT)
    kept: list[weakref.ref[Any]] = []

    def read(path: Path) -> tuple[int, Iterator[NDArray[np.uint8]]]:
        assert all(pixels() is None for pixels in kept)
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        kept.append(weakref.ref(pixels))
        return 1, iter([pixels])

    monkeypatch.setattr(run_module, "open_frames", read)
    assert look(finder, [Path("a.png")] * 3)[0].frames == 3
    assert len(kept) == 3


def test_a_report_is_one_line_whatever_the_file_is_called() -> None:
    assert one_line("a\nb\x1b[31m\udcff é") == "a\\nb\\x1b[31m\\udcff é"


def test_files_of_every_kind_are_looked_at_or_reported() -> None:
    # Another seed each time; it is printed, and --seed brings its files back.
    command = [sys.executable, str(HELPERS / "fuzz_predict.py"), "300", "--memory", "2048"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "     0 wrong" in done.stdout
