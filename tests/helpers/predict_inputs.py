"""Files of every kind that a user may give to prediction, many of them broken."""

from __future__ import annotations

import io
import struct
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nasfpn_runtime.predict.video import ffmpeg

Rng = np.random.Generator

# Formats and modes that Pillow writes; not every format has every mode.
READ = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI")
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "YCbCr", "LAB")


class GeneratedFile(NamedTuple):
    """A file's content, its suffix, and whether it can be read; None if either may happen."""

    content: bytes
    suffix: str
    good: bool | None


def write_inputs(rng: Rng, folder: Path, count: int) -> dict[Path, tuple[str, bool | None]]:
    """Write files; return the kind of each, and whether it can be read (None: either)."""
    made: dict[Path, tuple[str, bool | None]] = {}
    kinds = list(KINDS)
    weights = np.array([KINDS[kind][1] for kind in kinds], float)
    for number in range(count):
        kind = str(rng.choice(kinds, p=weights / weights.sum()))
        content, suffix, good = KINDS[kind][0](rng)
        path = folder / f"{number:04d}-{kind}{suffix}"
        path.write_bytes(content)
        made[path] = (kind, good)
    return made


def _noise(rng: Rng, size: tuple[int, int] | None = None, mode: str = "RGB") -> Image.Image:
    width, height = size or rng.integers(2, 200, 2).tolist()
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[:, :, 0].astype(np.uint16) << 8)
    image = Image.fromarray(pixels)
    return Image.merge("LAB", image.split()) if mode == "LAB" else image.convert(mode)


def _bytes(image: Image.Image, format: str, **options: object) -> bytes | None:
    """Return a file's content, or None if Pillow cannot write the image in that format."""
    stream = io.BytesIO()
    try:
        image.save(stream, format, **options)
    except (OSError, KeyError, ValueError, AttributeError, TypeError, SystemError):
        return None
    return stream.getvalue()


def _suffix(format: str) -> str:
    return "." + format.lower()


def _plain(rng: Rng) -> GeneratedFile:
    while True:
        format = str(rng.choice(READ))
        content = _bytes(_noise(rng, mode=str(rng.choice(MODES))), format)
        if content is not None:
            return GeneratedFile(content, _suffix(format), True)


def _thin(rng: Rng) -> GeneratedFile:
    long = int(rng.choice([1, 2, 1000, 16000, 60000]))
    size = (1, long) if rng.random() < 0.5 else (long, 1)
    format = str(rng.choice(["PNG", "BMP", "PPM", "TIFF", "JPEG"]))
    return GeneratedFile(_bytes(_noise(rng, size), format) or b"", _suffix(format), True)


def _float(rng: Rng) -> GeneratedFile:
    image = Image.fromarray(rng.standard_normal((20, 30)).astype(np.float32))
    return GeneratedFile(_bytes(image, "TIFF") or b"", ".tif", False)


def _turned(rng: Rng) -> GeneratedFile:
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(0, 12))
    format = str(rng.choice(["JPEG", "PNG", "WEBP", "TIFF"]))
    return GeneratedFile(_bytes(_noise(rng), format, exif=exif) or b"", _suffix(format), True)


def _odd_exif(rng: Rng) -> GeneratedFile:
    content = b"Exif\0\0" + rng.choice([b"II*\0", b"MM\0*"]) + rng.bytes(rng.integers(1, 200))
    return GeneratedFile(_bytes(_noise(rng), "JPEG", exif=content) or b"", ".jpg", None)


def _animated(rng: Rng) -> GeneratedFile:
    format = str(rng.choice(["GIF", "PNG", "WEBP", "TIFF"]))
    size = (int(rng.integers(2, 60)), int(rng.integers(2, 60)))
    first, *rest = (_noise(rng, size) for _ in range(rng.integers(2, 5)))
    content = _bytes(first, format, save_all=True, append_images=rest)
    return GeneratedFile(content or b"", _suffix(format), True)


def _wrong_suffix(rng: Rng) -> GeneratedFile:
    if rng.random() < 0.3:
        return GeneratedFile(
            b"this is not an image\n" * 9, str(rng.choice([".png", ".gif", ".mp4"])), False
        )
    return GeneratedFile(
        _plain(rng).content, str(rng.choice([".jpg", ".png", ".txt", ".tif", ""])), True
    )


def _valid(rng: Rng) -> GeneratedFile:
    """Return a file in any format that Pillow writes."""
    Image.init()
    while rng.random() < 0.5:
        format = str(rng.choice(sorted(Image.SAVE)))
        content = _bytes(_noise(rng, (40, 30), str(rng.choice(MODES))), format)
        if content:
            return GeneratedFile(content, _suffix(format), None)
    return rng.choice([_plain, _animated, _turned])(rng)  # type: ignore[no-any-return]


def _truncated(rng: Rng) -> GeneratedFile:
    content, suffix, _ = _valid(rng)
    return GeneratedFile(content[: rng.integers(0, len(content))], suffix, None)


def _flipped(rng: Rng) -> GeneratedFile:
    content, suffix, _ = _valid(rng)
    data = bytearray(content)
    # Bits in headers do most harm.
    end = min(len(data), 200) if rng.random() < 0.6 else len(data)
    for offset in rng.integers(0, end, rng.integers(1, 12)):
        data[offset] ^= 1 << rng.integers(0, 8)
    return GeneratedFile(bytes(data), suffix, None)


def _spliced(rng: Rng) -> GeneratedFile:
    content, suffix, _ = _valid(rng)
    first, last = sorted(rng.integers(0, len(content), 2))
    part = content[first:last]
    return GeneratedFile(
        content[:first] + part * int(rng.integers(0, 4)) + content[last:], suffix, None
    )


def _random(rng: Rng) -> GeneratedFile:
    magic = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"P6 9 9 9\n"]
    magic += [b"RIFF\xff\0\0\0WEBPVP8 ", b"qoif", b"\0\0\0\x0cjP  \r\n\x87\n", b"%!PS-Adobe-3.0 "]
    content = magic[rng.integers(len(magic))] + rng.bytes(rng.integers(0, 3000))
    return GeneratedFile(content, str(rng.choice([".jpg", ".png", ".gif", ".tif", ".webp"])), None)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, *chunks: bytes, bits: int = 8, colour: int = 2) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + _chunk(b"IEND", b"")


def _huge(rng: Rng) -> GeneratedFile:
    """Return a file whose header announces more pixels than fit in memory."""
    side = int(rng.choice([20_000, 60_000, 65_535]))
    files: list[tuple[bytes, str]] = [
        (_png(side, side, _chunk(b"IDAT", zlib.compress(bytes(99)))), ".png"),
        (_png(2**31 - 1, 1, _chunk(b"IDAT", zlib.compress(bytes(99)))), ".png"),
        (f"P6 {side} {side} 255\n".encode() + bytes(99), ".ppm"),
        (b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\0\0" + bytes(6) + b",;", ".gif"),
        (b"qoif" + struct.pack(">II", side, side) + b"\x03\0" + bytes(99), ".qoi"),
    ]
    bitmap = bytearray(_bytes(_noise(rng, (4, 4)), "BMP") or b"")
    bitmap[18:26] = struct.pack("<ii", side, side)
    photo = bytearray(_bytes(_noise(rng, (4, 4)), "JPEG") or b"")
    frame = photo.index(b"\xff\xc0") + 5
    photo[frame : frame + 4] = struct.pack(">HH", side, side)
    files += [(bytes(bitmap), ".bmp"), (bytes(photo), ".jpg")]
    content, suffix = files[rng.integers(len(files))]
    return GeneratedFile(content, suffix, False)


def _bomb(rng: Rng) -> GeneratedFile:
    """Return a small file that is large when it is decompressed."""
    kind = rng.integers(6)
    packed = _packed()
    if kind == 0:  # 169 million pixels in 21 kB
        rows = zlib.compress(bytes((13_000 // 8 + 1) * 13_000), 9)
        return GeneratedFile(
            _png(13_000, 13_000, _chunk(b"IDAT", rows), bits=1, colour=0), ".png", False
        )
    if kind == 1:  # 81 million, which can still be read
        rows = zlib.compress(bytes((9_000 // 8 + 1) * 9_000), 9)
        return GeneratedFile(
            _png(9_000, 9_000, _chunk(b"IDAT", rows), bits=1, colour=0), ".png", True
        )
    if kind == 2:
        picture = _chunk(b"IDAT", zlib.compress(bytes(4)))
        text, profile = _chunk(b"zTXt", b"a\0\0" + packed), _chunk(b"iCCP", b"a\0\0" + packed)
        return GeneratedFile(
            _png(1, 1, text if rng.random() < 0.5 else profile, picture), ".png", None
        )
    if kind == 3:  # more data than the image has pixels
        return GeneratedFile(_png(9, 9, _chunk(b"IDAT", packed)), ".png", None)
    if kind == 4:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("picture.png", bytes(50 << 20))
        return GeneratedFile(stream.getvalue(), str(rng.choice([".png", ".jpg", ".tif"])), False)
    # The header announces an animation of 10**9 frames.
    count = _chunk(b"acTL", struct.pack(">II", 10**9, 0))
    return GeneratedFile(_png(1, 1, count, _chunk(b"IDAT", zlib.compress(bytes(4)))), ".png", None)


def _video(rng: Rng) -> GeneratedFile:
    content = bytearray(_clip())
    if rng.random() < 0.3:
        return GeneratedFile(bytes(content), ".mp4", True)
    if rng.random() < 0.5:
        return GeneratedFile(bytes(content[: rng.integers(len(content))]), ".mp4", None)
    for offset in rng.integers(0, len(content), rng.integers(1, 30)):
        content[offset] ^= 1 << rng.integers(0, 8)
    return GeneratedFile(bytes(content), str(rng.choice([".mp4", ".avi", ".mkv"])), None)


@cache
def _clip() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        write_video(
            Path(name, "a.mp4"), [np.asarray(_noise(np.random.default_rng(0), (48, 32)))] * 4
        )
        return Path(name, "a.mp4").read_bytes()


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], *options: str) -> None:
    """Write frames (height, width, 3) RGB; the suffix sets the format."""
    content = list(frames)
    height, width = content[0].shape[:2]
    format = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "5")
    convert(*format, "-i", "pipe:0", *options, str(path), data=b"".join(map(bytes, content)))


def convert(*options: str, data: bytes | None = None) -> None:
    """Run FFmpeg."""
    subprocess.run([ffmpeg(), "-v", "error", *options], input=data, check=True)


@cache
def _packed() -> bytes:
    return zlib.compress(bytes(200 << 20), 9)


# Kind -> function that makes a file, and relative frequency.
KINDS: dict[str, tuple[Callable[[Rng], GeneratedFile], float]] = {
    "plain": (_plain, 10),
    "thin": (_thin, 3),
    "float": (_float, 1),
    "turned": (_turned, 6),
    "odd-exif": (_odd_exif, 5),
    "animated": (_animated, 4),
    "suffix": (_wrong_suffix, 4),
    "written": (_valid, 8),
    "truncated": (_truncated, 15),
    "flipped": (_flipped, 25),
    "spliced": (_spliced, 8),
    "random": (_random, 6),
    "empty": (lambda rng: GeneratedFile(b"", ".png", False), 1),
    "huge": (_huge, 3),
    "bomb": (_bomb, 0.5),
    "video": (_video, 0.5),
}
