"""Frames of videos, by FFmpeg in a process of its own.

FFmpeg reads what cameras write and turns frames as a player does. As a process, one that
crashes or hangs on a broken file takes nothing with it, which its libraries (PyAV) would, and
no second numpy is asked for, which OpenCV does. It is the one on the PATH, or the one inside
imageio-ffmpeg, which is a wheel on all machines that MindSpore has wheels for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from nasfpn_runtime.errors import DataError
from nasfpn_runtime.extras import require
from nasfpn_runtime.pictures.image import Pixels

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
# Files that lead to other files, such as playlists, are left out.
_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,asf,flv"


def open_video(path: Path) -> tuple[int, Iterator[Pixels]]:
    """Return how many frames a video has, by its packets, and the frames as a player shows them.

    Each is (height, width, 3) RGB. They are decoded while they are asked for.

    Raises:
        DataError: there is no FFmpeg, or it is no video; from the iterator, it is broken from
            there on.
    """
    program = ffmpeg()
    count = _count(program, path)
    if count < 1:
        raise DataError(f"a video has frames, got none (at {path})")
    return count, _frames(program, path)


def ffmpeg() -> str:
    """Return the program's path.

    Raises:
        MissingPackageError: there is none, nor the package that brings one.
    """
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    return str(require("imageio_ffmpeg").get_ffmpeg_exe())


def _input(program: str, path: Path) -> list[str]:
    return [
        *(program, "-v", "error", "-nostdin", "-threads", "2"),
        *("-protocol_whitelist", "file", "-format_whitelist", _DEMUXERS),
        *("-max_pixels", str(Image.MAX_IMAGE_PIXELS)),
        # Else a name with a colon would be a protocol, one with a dash an option.
        *("-i", f"file:{os.path.abspath(path)}", "-map", "0:v:0"),
    ]


def _count(program: str, path: Path) -> int:
    """Return the number of the video's packets, which is quick: nothing is decoded."""
    done = subprocess.run(
        [*_input(program, path), "-c", "copy", "-progress", "pipe:1", "-f", "null", os.devnull],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    counts = [line[6:] for line in done.stdout.splitlines() if line.startswith("frame=")]
    if done.returncode or not counts:
        raise _broken(path, done.stderr)
    return int(counts[-1])


def _frames(program: str, path: Path) -> Iterator[Pixels]:
    # PPM, because every picture says its own size.
    target = ["-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe"]
    command = [*_input(program, path), *target, "pipe:1"]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process,
    ):
        assert process.stdout is not None
        try:
            yield from _pictures(process.stdout)
            code = process.wait()
        finally:
            process.kill()
        if code:
            said.seek(0)
            raise _broken(path, said.read().decode(errors="replace"))


def _pictures(stream: IO[bytes]) -> Iterator[Pixels]:
    """Yield PPM pictures of 8 bits; what ends early is left to the exit code."""
    while stream.readline() == b"P6\n":
        width, height = map(int, stream.readline().split())
        stream.readline()  # 255
        content = stream.read(width * height * 3)
        if len(content) < width * height * 3:
            return
        yield np.frombuffer(content, np.uint8).reshape(height, width, 3)


def _broken(path: Path, said: str) -> DataError:
    lines = said.strip().splitlines() or ["nothing"]
    return DataError(f"a video can be read, got {lines[-1]} (at {path})")
