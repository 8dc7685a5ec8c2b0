"""Read images, fit them to the size of a network's input, and normalise them."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.boxes import Boxes

Pixels = NDArray[np.uint8]

# Of ImageNet, RGB from 0 to 1; published backbones were trained with these.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# A normalised channel is its grey level times the gain, minus the offset.
GAIN = tuple(1 / (255 * std) for std in STD)
OFFSET = tuple(mean / std for mean, std in zip(MEAN, STD, strict=True))

FIT_MODES = ("letterbox", "squash")
INTERPOLATIONS = ("antialias", "bilinear")

# The EXIF entry with the orientation of an image, and what its values mean (EXIF 2.3, 4.6.4).
_ORIENTATION = 0x0112
_TURNS: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_FIRST_SWAP = 5  # from here on, the turns swap height and width
# Keys under which Pillow keeps EXIF and XMP entries of a PNG that come before its pixels.
_PNG_EXIF = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}

# Exceptions that Pillow's decoders raise for broken files.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    RuntimeError,
    struct.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class Placement:
    """How an image was scaled and put at the top left of the network's input.

    Attributes:
        scale_x, scale_y: input pixels per stored pixel.
        height, width: size of the scaled image, in input pixels.
    """

    scale_x: float
    scale_y: float
    height: int
    width: int

    def forward(self, boxes: Boxes) -> Boxes:
        """Convert boxes from stored pixels to input pixels."""
        return boxes * self._scale()

    def inverse(self, boxes: Boxes) -> Boxes:
        """Convert boxes from input pixels to stored pixels."""
        return boxes / self._scale()

    def _scale(self) -> Boxes:
        return np.array([self.scale_x, self.scale_y] * 2, dtype=np.float32)


def read_image(path: Path, *, upright: bool = False) -> Pixels:
    """Return the image in a file as (height, width, 3) RGB; see :func:`to_pixels`.

    Raises:
        DataError: the file is missing, broken or not an image.
    """
    return _open_pixels(path, str(path), upright)


def decode_image(content: bytes, where: str, *, upright: bool = False) -> Pixels:
    """Return the image in the content of a file, as :func:`read_image` does.

    Args:
        where: what errors name as its origin.

    Raises:
        DataError: the content is broken or not an image.
    """
    return _open_pixels(io.BytesIO(content), where, upright)


def to_pixels(picture: Image.Image, *, upright: bool = False) -> Pixels:
    """Return a PIL image as (height, width, 3) RGB, rows and columns as stored.

    Grey, palette and CMYK images are converted, 16-bit ones keep their high byte, and
    transparency is dropped. Of an animation, the current frame is returned: by default the
    first.

    Args:
        upright: turn the image as its EXIF entry says, like an image viewer. COCO's boxes and
            sizes refer to the stored pixels.

    Raises:
        DataError: the image is broken.
    """
    try:
        return _to_rgb(_upright(picture) if upright else picture)
    except BROKEN as error:
        raise DataError(f"cannot read image: {error}") from error


@dataclass(frozen=True)
class Header:
    """What the header of an image file says.

    Attributes:
        size: (height, width) in stored pixels.
        orientation: value of the EXIF entry from 2 to 8, 1 if there is none.
    """

    size: tuple[int, int]
    orientation: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) as an image viewer shows the image."""
        height, width = self.size
        return (width, height) if self.orientation >= _FIRST_SWAP else (height, width)


def read_header(path: Path) -> Header:
    """Return the header of an image file, without decoding the image.

    Raises:
        DataError: the file is missing or its header is not that of an image.
    """
    try:
        with Image.open(path) as picture:
            # Pillow would decode a whole PNG to look for an entry behind its pixels.
            hidden = picture.format == "PNG" and not picture.info.keys() & _PNG_EXIF
            orientation = 1 if hidden else _orientation(picture)
            return Header((picture.height, picture.width), orientation)
    except BROKEN as error:
        raise DataError(f"cannot read image: {error} (at {path})") from error


def fit_size(size: tuple[int, int], coarsest_stride: int) -> tuple[int, int]:
    """Return (height, width) rounded up to multiples of the coarsest stride."""
    height, width = (-(-side // coarsest_stride) * coarsest_stride for side in size)
    return height, width


def fit(
    image: Pixels,
    size: tuple[int, int],
    mode: str = "letterbox",
    interpolation: str = "antialias",
    *,
    round_up: bool = False,
) -> tuple[Pixels, Placement]:
    """Return the image scaled to fit in ``size`` (height, width), and its placement.

    ``letterbox`` keeps the aspect ratio: one side is that of ``size``, the other may be shorter.
    The image is not padded yet: :func:`normalise` does that, since padding is zero after
    normalisation. ``squash`` scales each side to ``size``. See :func:`resize` for the scaling
    and :func:`place` for the resulting size.

    Raises:
        ValueError: the mode is not one of ``FIT_MODES``.
    """
    placement = place((image.shape[0], image.shape[1]), size, mode, round_up=round_up)
    return resize(image, (placement.height, placement.width), interpolation), placement


def place(
    stored: tuple[int, int],
    size: tuple[int, int],
    mode: str = "letterbox",
    *,
    round_up: bool = False,
) -> Placement:
    """Return where :func:`fit` puts an image of ``stored`` (height, width).

    Args:
        round_up: half a pixel rounds up, as in mmcv ``image/geometric.py``, instead of to the
            even side, as in tensorflow/tpu ``input_utils.py``.

    Raises:
        ValueError: the mode is not one of ``FIT_MODES``.
    """
    if mode not in FIT_MODES:
        raise ValueError(f"fit mode must be one of {', '.join(FIT_MODES)}, got {mode!r}")
    height, width = stored
    target = size
    if mode == "letterbox":
        scale = min(size[0] / height, size[1] / width)
        whole = _half_up if round_up else round
        target = (max(1, whole(height * scale)), max(1, whole(width * scale)))
    return Placement(target[1] / width, target[0] / height, *target)


def resize(image: Pixels, size: tuple[int, int], interpolation: str = "antialias") -> Pixels:
    """Return the image scaled to (height, width).

    ``antialias`` averages over all pixels that an output pixel covers. ``bilinear`` mixes the
    four nearest pixels, with pixel centres at halves, even when it shrinks the image. It is
    OpenCV's ``INTER_LINEAR`` (mmdetection, model zoo); TensorFlow's differs by less than a grey
    level.
    """
    if image.shape[:2] == size:
        return image
    if interpolation == "bilinear":
        from mindspore.dataset import vision  # uses OpenCV; Pillow has no such filter

        return np.asarray(vision.Resize(size, vision.Inter.BILINEAR)(np.ascontiguousarray(image)))
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def normalise(
    image: Pixels, size: tuple[int, int], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return a (3, height, width) input of ``size`` with the image at its top left.

    Channels are (RGB / 255 - ``MEAN``) / ``STD``. The rest is zero, as in tensorflow/tpu.

    Args:
        out: array to fill and return, instead of a new one.

    Raises:
        ValueError: the image is larger than ``size``.
    """
    height, width = image.shape[:2]
    if height > size[0] or width > size[1]:
        raise ValueError(f"image must fit in {size}, got {(height, width)}")
    result = np.empty((3, *size), dtype=np.float32) if out is None else out
    result[:, height:], result[:, :height, width:] = 0, 0
    for channel, plane in enumerate(result):
        inside = plane[:height, :width]
        np.multiply(image[:, :, channel], np.float32(GAIN[channel]), out=inside)
        inside -= np.float32(OFFSET[channel])
    return result


def normalise_all(images: Sequence[Pixels], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return images as one (N, 3, height, width) input, see :func:`normalise`."""
    inputs = np.empty((len(images), 3, *size), dtype=np.float32)
    for image, out in zip(images, inputs, strict=True):
        normalise(image, size, out)
    return inputs


def _open_pixels(file: Path | io.BytesIO, where: str, upright: bool) -> Pixels:
    try:
        with Image.open(file) as picture:
            return _to_rgb(_upright(picture) if upright else picture)
    except BROKEN as error:
        raise DataError(f"cannot read image: {error} (at {where})") from error


def _half_up(value: float) -> int:
    return int(value + 0.5)


def _upright(picture: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def _orientation(picture: Image.Image) -> int:
    """Return the orientation of the pixels as Pillow gives them; those of TIFF it has turned."""
    if picture.format == "TIFF":
        return 1
    try:
        value = picture.getexif().get(_ORIENTATION)
    except (*BROKEN, TypeError, KeyError, AttributeError):  # image viewers ignore a broken entry
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _to_rgb(picture: Image.Image) -> Pixels:
    if picture.mode.startswith("I;16") or picture.mode == "I":
        grey = (np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if picture.mode == "F":
        raise DataError("pixels must be integers, got floating point")
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    # Pillow would copy an image that is RGB already.
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
