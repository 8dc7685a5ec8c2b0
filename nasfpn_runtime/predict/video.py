"""Read the frames of a video with FFmpeg, in a process of its own.

FFmpeg reads what cameras write and rotates frames as a player does. In a process of its own, a
crash or hang on a broken file affects nothing else; its libraries (PyAV) would take this process
down. OpenCV would need another version of numpy. The program is the one on the PATH, or the one
in imageio-ffmpeg, which has wheels for all machines that MindSpore has wheels for.
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
# Without formats that refer to other files, such as playlists.
_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,asf,flv"


def open_video(path: Path) -> tuple[int, Iterator[Pixels]]:
    """Return the number of frames of a video, by its packets, and the frames.

    A frame is (height, width, 3) RGB, as a player shows it. Frames are decoded one after
    another, when the iterator is advanced.

    Raises:
        DataError: the file is not a video. The iterator raises it where a file is broken
            further on.
        MissingPackageError: FFmpeg is not installed.
    """
    program = ffmpeg()
    count = _count_packets(program, path)
    if count < 1:
        raise DataError(f"a video must have frames, got none (at {path})")
    return count, _decode(program, path)


def ffmpeg() -> str:
    """Return the path of the program.

    Raises:
        MissingPackageError: it is not on the PATH, and the package that contains it is not
            installed.
    """
    on_path = shutil.which("ffmpeg")
    if on_path is not None:
        return on_path
    return str(require("imageio_ffmpeg").get_ffmpeg_exe())


def _input_options(program: str, path: Path) -> list[str]:
    return [
        *(program, "-v", "error", "-nostdin", "-threads", "2"),
        *("-protocol_whitelist", "file", "-format_whitelist", _DEMUXERS),
        *("-max_pixels", str(Image.MAX_IMAGE_PIXELS)),
        # The prefix keeps names with a colon from being protocols, and names with a dash options.
        *("-i", f"file:{os.path.abspath(path)}", "-map", "0:v:0"),
    ]


def _count_packets(program: str, path: Path) -> int:
    """Return the number of packets of a video. This is fast, as nothing is decoded."""
    ended = subprocess.run(
        [
            *_input_options(program, path),
            "-c",
            "copy",
            "-progress",
            "pipe:1",
            "-f",
            "null",
            os.devnull,
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    counts = [line[6:] for line in ended.stdout.splitlines() if line.startswith("frame=")]
    if ended.returncode or not counts:
        raise _broken(path, ended.stderr)
    return int(counts[-1])


def _decode(program: str, path: Path) -> Iterator[Pixels]:
    # As PPM images, because each has its size in its header.
    target = ["-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe"]
    command = [*_input_options(program, path), *target, "pipe:1"]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None
        try:
            yield from _read_ppm(process.stdout)
            code = process.wait()
        finally:
            process.kill()
        if code:
            errors.seek(0)
            raise _broken(path, errors.read().decode(errors="replace"))


def _read_ppm(stream: IO[bytes]) -> Iterator[Pixels]:
    """Yield PPM images of 8 bits.

    An image that ends early is left out. FFmpeg's exit code shows whether that is an error.
    """
    while stream.readline() == b"P6\n":
        width, height = map(int, stream.readline().split())
        stream.readline()  # the largest value: 255
        content = stream.read(width * height * 3)
        if len(content) < width * height * 3:
            return
        yield np.frombuffer(content, np.uint8).reshape(height, width, 3)


def _broken(path: Path, errors: str) -> DataError:
    lines = errors.strip().splitlines() or ["FFmpeg gives no reason"]
    return DataError(f"cannot read the video: {lines[-1]} (at {path})")
