"""Which files are meant, and what they are called."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasfpn_runtime.errors import DataError
from nasfpn_runtime.predict.inputs import InputFile, list_files, listed_files
from nasfpn_runtime.predict.naming import Names

PIXELS = np.zeros((1, 1, 3), np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("b.JPG", "a.png", "notes.txt", "2024/c.webp", "2024/06/clip.mp4", "[x].png"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    os.mkfifo(folder / "pipe.png")  # opening it would wait for ever
    (folder / "2024" / "loop").symlink_to(folder)
    return folder


def names(sources: list[InputFile]) -> list[str]:
    return [source.name.as_posix() for source in sources]


def test_a_folder_stands_for_its_pictures_and_videos(photos: Path) -> None:
    found = list_files([str(photos)])
    assert names(found) == ["[x].png", "a.png", "b.JPG", "2024/c.webp", "2024/06/clip.mp4"]
    assert all(source.path == photos / source.name for source in found)


def test_patterns_and_names(photos: Path) -> None:
    assert names(list_files([f"{photos}/*.txt", f"{photos}/a.png"])) == ["notes.txt", "a.png"]
    assert names(list_files([f"{photos}/**/*.webp"])) == ["c.webp"]
    assert names(list_files([f"{photos}/20*"])) == ["c.webp", "06/clip.mp4"]
    every = ["[x].png", "a.png", "b.JPG", "2024/c.webp", "2024/06/clip.mp4"]
    assert names(list_files([f"{photos}/**", str(photos / "a.png")])) == every
    # A file first, then a pattern that would be x.png.
    assert names(list_files([f"{photos}/[x].png"])) == ["[x].png"]
    (photos / "empty").mkdir()
    for wrong in ("nothing.png", "*.tif", "empty", "**a"):
        with pytest.raises(DataError, match=r"an input is|a folder has|a pattern can"):
            list_files([str(photos / wrong)])


def test_a_list_has_a_name_a_line() -> None:
    lines = [b"x/a.png\n", b"\n", b" b.png\r\n", b"\xff.png"]
    found = list(listed_files(lines))
    assert [os.fsencode(source.path) for source in found] == [b"x/a.png", b" b.png", b"\xff.png"]
    assert found[0].name == PurePath("a.png")


paths = st.lists(st.sampled_from(["a", "a-2", "7", "07", "x/a", "x/7", "clip-000001"]))
suffixes = st.sampled_from([".jpg", ".png"])


@given(st.lists(st.tuples(paths.map(lambda p: (p or ["b"])[0]), suffixes, st.booleans())))
def test_no_two_frames_have_a_name_or_an_id(files: list[tuple[str, str, bool]]) -> None:
    given_names = Names()
    made = []
    for stem, suffix, clip in files:
        source = InputFile(Path(stem + suffix), PurePath(stem + suffix))
        frames = [
            given_names.frame(source, number, PIXELS) for number in ((1, 2) if clip else (None,))
        ]
        made += frames
        for frame in frames:
            assert PurePath(frame.name).parent == source.name.parent
    assert len({frame.name for frame in made}) == len(made)
    assert len({frame.image_id for frame in made}) == len(made)
    if made and files[0][0] == "07" and not files[0][2]:
        assert (made[0].name, made[0].image_id) == ("07", 7)


def test_a_long_name_leaves_room_for_what_is_added() -> None:
    long = Path("é" * 125 + ".jpg")  # 254 bytes
    frame = Names().frame(InputFile(long, PurePath(long)), 3, PIXELS)
    assert frame.name == "é" * 100 + "-000003"
