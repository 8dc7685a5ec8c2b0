"""Which files names, folders, patterns and lists stand for."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath

import pytest

from nasfpn_runtime.errors import DataError
from nasfpn_runtime.predict.inputs import InputFile, list_files, listed_files


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("b.JPG", "a.png", "notes.txt", "2024/c.webp", "2024/06/clip.mp4", "[x].png"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    os.mkfifo(folder / "pipe.png")  # opening it would block
    (folder / "2024" / "loop").symlink_to(folder)
    return folder


def names(files: list[InputFile]) -> list[str]:
    return [file.name.as_posix() for file in files]


def test_a_folder_stands_for_its_images_and_videos(photos: Path) -> None:
    files = list_files([str(photos)])
    assert names(files) == ["[x].png", "a.png", "b.JPG", "2024/c.webp", "2024/06/clip.mp4"]
    assert all(file.path == photos / file.name for file in files)


def test_patterns_and_names(photos: Path) -> None:
    assert names(list_files([f"{photos}/*.txt", f"{photos}/a.png"])) == ["notes.txt", "a.png"]
    assert names(list_files([f"{photos}/**/*.webp"])) == ["c.webp"]
    assert names(list_files([f"{photos}/20*"])) == ["c.webp", "06/clip.mp4"]
    every = ["[x].png", "a.png", "b.JPG", "2024/c.webp", "2024/06/clip.mp4"]
    assert names(list_files([f"{photos}/**", str(photos / "a.png")])) == every
    # The file takes precedence over the pattern, which would match x.png.
    assert names(list_files([f"{photos}/[x].png"])) == ["[x].png"]
    (photos / "empty").mkdir()
    for wrong in ("nothing.png", "*.tif", "empty", "**a"):
        with pytest.raises(DataError, match=re.escape(str(photos / wrong))):
            list_files([str(photos / wrong)])


def test_inputs_without_a_file_are_skipped_unless_nothing_is_left(photos: Path) -> None:
    (photos / "empty").mkdir()
    skipped: list[str] = []
    wrong = [str(photos / name) for name in ("missing.jpg", "empty", "*.tif")]
    files = list_files([wrong[0], str(photos / "a.png"), *wrong[1:]], skipped.append)
    assert names(files) == ["a.png"]
    assert [line.partition(": ")[2] for line in skipped] == wrong
    with pytest.raises(DataError, match=re.escape(wrong[0])):
        list_files(wrong, skipped.append)
    assert len(skipped) == 3
    (photos / "nothing").mkdir()
    # A pattern may match folders without images, too.
    assert names(list_files([f"{photos}/*t*"])) == ["notes.txt"]


def test_a_list_has_one_name_per_line() -> None:
    lines = [b"x/a.png\n", b"\n", b" b.png\r\n", b"\xff.png"]
    files = list(listed_files(lines))
    assert [os.fsencode(file.path) for file in files] == [b"x/a.png", b" b.png", b"\xff.png"]
    assert files[0].name == PurePath("a.png")
