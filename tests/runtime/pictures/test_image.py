"""Images: reading of all kinds of files, fitting, scaling and normalising."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.image import (
    decode_image,
    fit,
    fit_size,
    normalise,
    place,
    read_header,
    read_image,
    resize,
)


def ramp(height: int, width: int) -> NDArray[np.uint8]:
    """Return an image in which every pixel and channel differs from its neighbours."""
    return (np.arange(height * width * 3) * 37 % 256).astype(np.uint8).reshape(height, width, 3)


def test_rgb_is_read_as_stored(tmp_path: Path) -> None:
    Image.fromarray(ramp(5, 7)).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    for pixels in (read_image(path), decode_image(path.read_bytes(), "a.png")):
        np.testing.assert_array_equal(pixels, ramp(5, 7))
        assert pixels.dtype == np.uint8
    assert read_header(tmp_path / "a.png").size == (5, 7)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr", "I;16"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    if mode == "I;16":
        picture = Image.fromarray(np.full((4, 6), 255 * 256 + 17, dtype=np.uint16))
    else:
        picture = Image.new("RGB", (6, 4), "white").convert(mode)
    picture.save(path)
    pixels = read_image(path)
    assert (pixels.shape, pixels.dtype) == ((4, 6, 3), np.dtype(np.uint8))
    assert (pixels >= 254).all()


def test_sixteen_bits_keep_the_high_byte(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0x0100, 0x80FF]], dtype=np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[:, :, 1], [[0x01, 0x80]])


@pytest.mark.filterwarnings("error")
def test_palette_with_transparency(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    picture.putpalette([250, 10, 20, 30, 40, 50])
    picture.save(tmp_path / "a.png", transparency=bytes([100, 200]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), [[[250, 10, 20], [30, 40, 50]]])


def test_orientation_is_not_applied(tmp_path: Path) -> None:
    picture = Image.fromarray(ramp(8, 16))
    exif = picture.getexif()
    exif[0x0112] = 6  # the orientation: to be shown turned by 90 degrees
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (8, 16, 3)
    assert read_header(tmp_path / "a.jpg").size == (8, 16)
    assert read_header(tmp_path / "a.jpg").upright_size == (16, 8)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(10))
def test_header_and_pixels_agree_on_both_frames(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    dark = np.zeros((16, 32, 3), np.uint8)
    dark[:8, :8] = 255
    Image.fromarray(dark).save(path, exif=exif)
    header = read_header(path)
    assert read_image(path).shape[:2] == header.size
    upright = read_image(path, upright=True)
    assert upright.shape[:2] == header.upright_size
    # Where EXIF 2.3, 4.6.4 puts the first row and column of the stored pixels.
    corner = {2: (0, 31), 3: (15, 31), 4: (15, 0), 6: (0, 15), 7: (31, 15), 8: (31, 0)}
    assert upright[corner.get(orientation, (0, 0))].min() > 200
    assert upright.mean() < 80


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    for read in (read_image, read_header):
        with pytest.raises(DataError, match=r"image: .* \(at .*a\.png\)$"):
            read(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(ramp(64, 64)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=rf"image: .* \(at .*a\.{suffix}\)$"):
        read_image(path)
    with pytest.raises(DataError, match=r"image: .* \(at row 3\)$"):
        decode_image(path.read_bytes(), "row 3")


def test_letterbox_by_hand() -> None:
    # 100 rows and 50 columns in 64 x 96: the height decides, 64 / 100; width 50 * 0.64 = 32.
    image, placement = fit(ramp(100, 50), (64, 96))
    assert image.shape == (64, 32, 3)
    assert (placement.height, placement.width) == (64, 32)
    assert (placement.scale_y, placement.scale_x) == (0.64, 0.64)


def test_squash_by_hand() -> None:
    image, placement = fit(ramp(100, 50), (64, 96), "squash")
    assert image.shape == (64, 96, 3)
    assert (placement.scale_y, placement.scale_x) == (0.64, 1.92)


def test_an_unknown_mode_is_named() -> None:
    with pytest.raises(ValueError, match=r"letterbox, squash, got 'crop'"):
        fit(ramp(4, 4), (8, 8), "crop")


sides = st.integers(1, 60)


@given(sides, sides, sides, sides, st.sampled_from(["letterbox", "squash"]))
def test_a_placement_takes_corners_to_corners_and_back(
    height: int, width: int, rows: int, columns: int, mode: str
) -> None:
    image, placement = fit(ramp(height, width), (rows, columns), mode)
    assert image.shape == (placement.height, placement.width, 3)
    assert placement.height <= rows
    assert placement.width <= columns
    assert placement.height == rows or placement.width == columns
    whole = np.array([[0, 0, width, height]], dtype=np.float32)
    placed = placement.forward(whole)
    np.testing.assert_allclose(placed, [[0, 0, placement.width, placement.height]], rtol=1e-6)
    np.testing.assert_allclose(placement.inverse(placed), whole, rtol=1e-6)
    assert placed.dtype == np.float32


def test_half_a_pixel_rounds_up_on_request() -> None:
    # 45 * 32 / 64 = 22.5 and 47 * 32 / 64 = 23.5 depend on it; 46 * 32 / 64 = 23 does not.
    for side, even, up in ((45, 22, 23), (47, 24, 24), (46, 23, 23), (1, 1, 1)):
        for expected, round_up in ((even, False), (up, True)):
            placement = place((side, 64), (32, 32), round_up=round_up)
            assert (placement.height, placement.width) == (expected, 32)
            image = np.zeros((side, 64, 3), np.uint8)
            assert fit(image, (32, 32), round_up=round_up)[1] == placement


def test_normalising_fills_a_given_array() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    out = np.full((3, 8, 9), np.nan, dtype=np.float32)
    assert normalise(picture, (8, 9), out=out) is out
    np.testing.assert_array_equal(out, normalise(picture, (8, 9)))
    assert not out[:, 5:].any()
    assert not out[:, :, 7:].any()


def test_half_a_pixel_rounds_to_the_even_side_by_default() -> None:
    # From 1024 to 640 the factor is 0.625: 740 * 0.625 = 462.5 and 748 * 0.625 = 467.5.
    assert place((1024, 740), (640, 640)).width == 462
    assert place((748, 1024), (640, 640)).height == 468


def mixed(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the image scaled pixel by pixel from four neighbours, with centres at halves."""
    result = np.empty((*size, 3))
    limits = [side - 1 for side in image.shape[:2]]
    for row, column in np.ndindex(size):
        y = (row + 0.5) * image.shape[0] / size[0] - 0.5
        x = (column + 0.5) * image.shape[1] / size[1] - 0.5
        y, x = min(max(y, 0), limits[0]), min(max(x, 0), limits[1])
        top, left = int(y), int(x)
        bottom, right = min(top + 1, limits[0]), min(left + 1, limits[1])
        upper = image[top, left] * (1 - x + left) + image[top, right] * (x - left)
        lower = image[bottom, left] * (1 - x + left) + image[bottom, right] * (x - left)
        result[row, column] = upper * (1 - y + top) + lower * (y - top)
    return result


@pytest.mark.parametrize("size", [(40, 40), (9, 31), (23, 5), (3, 4), (11, 17)])
def test_bilinear_is_the_same_as_by_loops(size: tuple[int, int]) -> None:
    scaled = resize(ramp(22, 17), size, "bilinear")
    assert (scaled.shape, scaled.dtype) == ((*size, 3), np.dtype(np.uint8))
    # OpenCV computes in integers and rounds down twice: less than a grey level off.
    assert np.abs(scaled - mixed(ramp(22, 17), size)).max() < 1


def test_antialiasing_sees_every_pixel() -> None:
    # One of eight columns is white, and the image shrinks to an eighth: a bilinear pixel mixes
    # columns 3 and 4 of each eight and misses the white one.
    image = np.zeros((16, 64, 3), dtype=np.uint8)
    image[:, ::8] = 255
    assert resize(image, (2, 8), "bilinear").max() == 0
    assert resize(image, (2, 8)).min() > 0


@pytest.mark.parametrize("interpolation", ["antialias", "bilinear"])
def test_a_flipped_view_is_scaled_like_a_copy(interpolation: str) -> None:
    view = ramp(12, 10)[:, ::-1]
    np.testing.assert_array_equal(
        resize(view, (7, 9), interpolation), resize(view.copy(), (7, 9), interpolation)
    )


@pytest.mark.parametrize("mode", ["letterbox", "squash"])
@pytest.mark.parametrize("shape", [(120, 200), (200, 90)])
def test_a_box_stays_on_what_it_marks(shape: tuple[int, int], mode: str) -> None:
    image = np.zeros((*shape, 3), dtype=np.uint8)
    image[30:70, 20:50] = 255
    scaled, placement = fit(image, (128, 128), mode)
    rows, columns = np.nonzero(scaled[:, :, 0] > 127)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    expected = placement.forward(np.array([[20, 30, 50, 70]], dtype=np.float32))[0]
    np.testing.assert_allclose(seen, expected, atol=1)


def test_normalise_by_hand() -> None:
    image = np.zeros((1, 2, 3), dtype=np.uint8)
    image[0, 1] = (255, 0, 51)
    normalised = normalise(image, (2, 3))
    assert (normalised.shape, normalised.dtype) == ((3, 2, 3), np.dtype(np.float32))
    # (value / 255 - mean) / std of the ImageNet channels.
    pixel = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    np.testing.assert_allclose(normalised[:, 0, 1], pixel, rtol=1e-5)
    assert not normalised[:, 1, :].any()
    assert not normalised[:, :, 2].any()


def test_normalise_does_not_crop() -> None:
    with pytest.raises(ValueError, match=r"\(4, 4\), got \(5, 4\)"):
        normalise(ramp(5, 4), (4, 4))


@given(st.integers(1, 2000), st.integers(1, 2000), st.sampled_from([32, 64, 128]))
def test_fit_size_is_the_least_multiple(height: int, width: int, stride: int) -> None:
    for side, rounded in zip((height, width), fit_size((height, width), stride), strict=True):
        assert rounded % stride == 0
        assert rounded - stride < side <= rounded
