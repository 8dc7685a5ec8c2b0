"""Videos: frames are as a player shows them, and only videos are read."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from nasfpn_runtime.errors import DataError, MissingPackageError
from nasfpn_runtime.predict.frames import open_frames
from predict_inputs import convert, write_video

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (5, 24, 32, 3), dtype=np.uint8)
LOSSLESS = ("-c:v", "ffv1", "-pix_fmt", "bgr0")


def test_frames_are_those_of_the_video(tmp_path: Path) -> None:
    path = tmp_path / "-i a:b %d.mkv"  # must not be taken as an option, protocol or pattern
    write_video(tmp_path / "a.mkv", FRAMES, *LOSSLESS)
    (tmp_path / "a.mkv").rename(path)
    count, frames = open_frames(path)
    assert count == 5
    np.testing.assert_array_equal(list(frames), FRAMES)


def test_a_rotated_video_is_rotated(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", FRAMES, *LOSSLESS)
    turn = ("-display_rotation", "90", "-i", str(tmp_path / "a.mkv"), "-c", "copy")
    convert(*turn, str(tmp_path / "b.mov"))
    _, frames = open_frames(tmp_path / "b.mov")
    # FFmpeg counts degrees counterclockwise, as numpy does.
    np.testing.assert_array_equal(next(frames), np.rot90(FRAMES[0]))


def test_a_file_that_is_not_a_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is text")
    write_video(tmp_path / "a.mkv", FRAMES, *LOSSLESS)
    # A list of other files is not followed.
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\na.mkv\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile a.mkv\n")
    for name in ("text.mp4", "list.mp4", "concat.mp4", "missing.mp4"):
        with pytest.raises(DataError, match=name):
            open_frames(tmp_path / name)


def test_a_missing_ffmpeg_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingPackageError, match=r"imageio_ffmpeg.*'nasfpn\[video\]'"):
        open_frames(tmp_path / "a.mp4")
