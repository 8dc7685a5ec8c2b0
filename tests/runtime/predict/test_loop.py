"""Prediction: boxes refer to what a viewer shows, and every file is read or reported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features

import predict_stub
from locations import HELPERS, ROOT
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.predict import loop
from nasfpn_runtime.predict.results import PictureFolder
from nasfpn_runtime.progress import Progress
from predict_stub import HEIGHT, MARK, RED, WIDTH, KeptDetections, marked_image, run_predict

# Orientation -> where a viewer shows the stored pixel (x, y). EXIF 2.3, 4.6.4 A, defines where
# row 0 and column 0 are seen. For 6, row 0 is at the right and column 0 at the top: x becomes the
# row, and y counts from the right.
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


@pytest.fixture
def finder() -> Detector:
    """Finds what is red, in images scaled by 2 to at most 120 x 80."""
    made: Detector = predict_stub.detector((120, 120))
    return made


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
def test_boxes_and_images_are_as_a_viewer_shows_them(
    suffix: str, finder: Detector, tmp_path: Path
) -> None:
    assert suffix != "avif" or features.check("avif")
    paths = []
    for orientation in SHOWN:
        exif = Image.Exif()
        exif[0x0112] = orientation
        paths.append(tmp_path / f"{orientation}.{suffix}")
        marked_image().save(paths[-1], exif=exif)
    kept, folder = KeptDetections(), PictureFolder(tmp_path / "out")
    assert run_predict(finder, paths, kept, folder)[0].skipped == 0
    x1, y1, x2, y2 = MARK
    for path, frame, boxes, shown_at in zip(
        paths, kept.frames, kept.boxes, SHOWN.values(), strict=True
    ):
        ends = np.array([shown_at(x1, y1), shown_at(x2 - 1, y2 - 1)])
        expected = [*ends.min(0), *ends.max(0) + 1]
        # The network sees twice the size, exact to a pixel; lossy formats blur the edge.
        np.testing.assert_allclose(boxes, [expected], atol=1.1, err_msg=path.name)
        (written,) = (tmp_path / "out").glob(f"{path.stem}.*")
        with Image.open(written) as shown:
            corner = shown_at(WIDTH - 1, HEIGHT - 1), shown_at(0, 0)
            assert shown.size == tuple(np.abs(np.subtract(*corner)) + 1)
            assert not shown.getexif().get(0x0112)
            inside = np.asarray(shown.convert("RGB")).astype(int)
            left, top, right, bottom = expected
            centre = inside[(top + bottom) // 2, (left + right) // 2]
            assert np.abs(centre - RED).max() < 60, (path.name, centre)
        assert frame.pixels.shape[1::-1] == shown.size


def test_every_frame_of_an_animation_is_read(finder: Detector, tmp_path: Path) -> None:
    marks = [(x, 4, x + 10, 12) for x in (2, 20, 40)]
    frames = [marked_image(mark) for mark in marks]
    for suffix in ("gif", "png", "webp", "tif"):
        path = tmp_path / f"clip.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        kept = KeptDetections()
        tally, reports = run_predict(finder, [path], kept, PictureFolder(tmp_path / suffix))
        assert (tally.frames, reports) == (3, [])
        assert [frame.number for frame in kept.frames] == [1, 2, 3]
        np.testing.assert_allclose(np.concatenate(kept.boxes), marks, atol=1.1)
        written = sorted(file.name for file in (tmp_path / suffix).iterdir())
        assert written == [f"clip-00000{n}.jpg" for n in (1, 2, 3)]


def test_the_second_image_of_a_stereo_pair_is_not_a_frame(finder: Detector, tmp_path: Path) -> None:
    marked_image().save(tmp_path / "a.mpo", save_all=True, append_images=[marked_image()])
    assert run_predict(finder, [tmp_path / "a.mpo"])[0].frames == 1


def test_a_file_that_breaks_off_is_used_up_to_there_and_reported(
    finder: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Progress] = []

    def record(*args: Any) -> Progress:
        shown.append(Progress(*args))
        return shown[-1]

    monkeypatch.setattr(loop, "Progress", record)
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 255, (50, 50, 3), dtype=np.uint8)) for _ in range(4)]
    clip = tmp_path / "a.png"
    noise[0].save(clip, save_all=True, append_images=noise[1:])
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) * 5 // 8])  # in the third of four frames
    (tmp_path / "b.png").write_bytes(b"not an image\n")
    marked_image().save(tmp_path / "c.png")
    kept = KeptDetections()
    os.mkfifo(tmp_path / "pipe.png")  # opening it would block
    broken = [clip, tmp_path / "b.png", tmp_path / "missing.png", tmp_path, tmp_path / "pipe.png"]
    tally, reports = run_predict(finder, [*broken, tmp_path / "c.png"], kept)
    assert [(frame.file.path.name, frame.number) for frame in kept.frames] == [
        ("a.png", 1),
        ("a.png", 2),
        ("c.png", None),
    ]
    assert (tally.frames, tally.skipped) == (3, 5)
    for path, report in zip(broken, reports, strict=True):
        assert report.startswith(f"skipped {path}: ")
        assert "\n" not in report
    assert (shown[0].done, shown[0].total) == (3, 3)


def test_a_picture_of_too_many_pixels_is_reported(finder: Detector, tmp_path: Path) -> None:
    # 90,250,000 pixels in 14 kB; the limit is 89,478,485.
    Image.new("1", (9500, 9500)).save(tmp_path / "a.png")
    tally, reports = run_predict(finder, [tmp_path / "a.png"])
    assert (tally.frames, tally.skipped) == (0, 1)
    assert "90250000 pixels" in reports[0]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (40_000, 1), (1, 40_000)])
@pytest.mark.parametrize("how", ["antialias", "bilinear"])
def test_a_picture_that_cannot_be_scaled_is_reported(
    size: tuple[int, int], how: str, tmp_path: Path
) -> None:
    # MindSpore's bilinear scaling supports neither a factor of a thousand nor sides above 32,767.
    detector = predict_stub.detector((1024, 1024), interpolation=how, fit="squash")
    Image.new("RGB", size, RED).save(tmp_path / "a.png")
    tally, reports = run_predict(detector, [tmp_path / "a.png"])
    assert tally.frames + len(reports) == 1
    assert (how == "antialias") <= tally.frames
    for report in reports:
        assert re.search(f"scale .*{size[0]} x {size[1]}", report)


def test_batches_are_limited_by_pixels_and_by_images(
    finder: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        marked_image().save(tmp_path / f"{number}.png")
    counts: list[int] = []
    find = finder.find
    monkeypatch.setattr(
        finder, "find", lambda fitted, **k: counts.append(len(fitted)) or find(fitted, **k)
    )
    paths = sorted(tmp_path.iterdir())
    run_predict(finder, paths, batch=3)
    assert counts == [3, 3, 1]
    counts.clear()
    monkeypatch.setattr(loop, "BATCH_PIXELS", 2 * WIDTH * HEIGHT)
    run_predict(finder, paths, batch=3)
    assert counts == [2, 2, 2, 1]
    counts.clear()
    monkeypatch.setattr(loop, "BATCH_PIXELS", 1)
    run_predict(finder, paths, batch=3)
    assert counts == [1] * 7


def test_a_large_image_is_freed_before_the_next_one_is_read(
    finder: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "BATCH_PIXELS", WIDTH * HEIGHT)
    kept: list[weakref.ref[Any]] = []

    def read(path: Path) -> tuple[int, Iterator[NDArray[np.uint8]]]:
        assert all(pixels() is None for pixels in kept)
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        kept.append(weakref.ref(pixels))
        return 1, iter([pixels])

    monkeypatch.setattr(loop, "open_frames", read)
    assert run_predict(finder, [Path("a.png")] * 3)[0].frames == 3
    assert len(kept) == 3


def test_a_video_is_reported_if_ffmpeg_is_missing(
    finder: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").touch()
    marked_image().save(tmp_path / "b.png")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    tally, reports = run_predict(finder, [tmp_path / "a.mp4", tmp_path / "b.png"])
    assert (tally.frames, tally.skipped) == (1, 1)
    assert re.search(r"a\.mp4: .*nasfpn\[video\]", reports[0])


def test_a_report_is_one_line_for_any_file_name(finder: Detector, tmp_path: Path) -> None:
    path = tmp_path / "a\nb\x1b[31m\udcff é.png"
    path.write_text("not an image")
    tally, reports = run_predict(finder, [path])
    assert tally.skipped == 1
    assert reports[0].startswith(f"skipped {tmp_path}/a\\nb\\x1b[31m\\udcff é.png: ")
    assert reports[0].isprintable()


@pytest.mark.slow
def test_files_of_every_kind_are_read_or_reported() -> None:
    # The seed differs in every run. It is printed; --seed makes the same files again.
    command = [sys.executable, str(HELPERS / "fuzz_predict.py"), "300", "--memory", "2048"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "     0 wrong" in ended.stdout
