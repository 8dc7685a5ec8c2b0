"""Removing the EXIF orientation of an image file changes two bytes and no pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasfpn_runtime.pictures.exif import without_orientation
from nasfpn_runtime.pictures.image import read_header, read_image

CHECKSUM = 4  # bytes of a chunk of PNG


@pytest.mark.parametrize("order", [b"II*\0", b"MM\0*"])
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_two_bytes_change_and_no_pixel(
    tmp_path: Path, suffix: str, orientation: int, order: bytes
) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif._loaded, exif.endian = True, "<" if order.startswith(b"I") else ">"
    exif[0x010F], exif[0x0112], exif[0x0132] = "maker", orientation, "2026:01:01 00:00:00"
    pixels = np.random.default_rng(orientation).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif.tobytes())
    content, stored = path.read_bytes(), read_image(path)
    assert read_header(path).orientation == orientation
    changed = without_orientation(content)
    assert changed is not None
    path.write_bytes(changed)
    assert read_header(path).orientation == 1
    np.testing.assert_array_equal(read_image(path, upright=True), stored)
    assert len(changed) == len(content)
    differing = sum(a != b for a, b in zip(changed, content, strict=True))
    assert 1 <= differing <= 2 + (CHECKSUM if suffix == "png" else 0)
    with Image.open(path) as picture:
        assert picture.getexif()[0x010F] == "maker"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif"])
def test_nothing_to_change_is_none(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (4, 4)).save(path)
    assert without_orientation(path.read_bytes()) is None
