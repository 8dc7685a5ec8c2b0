"""Read the frames of a file: an image, an animation or a video."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.image import Pixels, to_pixels
from nasfpn_runtime.predict.video import VIDEOS, open_video

# Not all of Pillow's formats: some run programs (EPS), some are not images (GRIB, HDF5), and some
# files cannot be recognised by their content (TGA).
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI")
# Formats whose frames are an animation. Not MPO: its second image is that of the other eye.
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")


def open_frames(path: Path) -> tuple[int, Iterator[Pixels]]:
    """Return the number of frames according to a file's header, and the frames.

    A frame is (height, width, 3) RGB, rotated as a viewer shows it (see ``image.to_pixels``),
    with at most Pillow's ``MAX_IMAGE_PIXELS``, 89 million pixels. A broken file may have fewer
    frames than its header says.

    Raises:
        DataError: the file is missing, broken, or neither an image nor a video. The iterator
            raises it where a file is broken further on.
        MissingPackageError: the file is a video, and FFmpeg is not installed.
    """
    with _decoding(path):
        if not path.is_file():
            raise DataError(f"cannot read the image: it is not a file (at {path})")
    if path.suffix.lower() in VIDEOS:
        return open_video(path)
    with _decoding(path):
        picture = Image.open(path, formats=_available_formats())
        try:
            count = int(getattr(picture, "n_frames", 1)) if picture.format in ANIMATED else 1
        except BaseException:
            picture.close()
            raise
    return count, _decode(picture, count, path)


def _decode(picture: Image.Image, count: int, path: Path) -> Iterator[Pixels]:
    with picture:
        for index in range(count):
            with _decoding(path):
                if count > 1:
                    picture.seek(index)
                picture.load()
                pixels = to_pixels(picture, upright=True)
            if index == count - 1:
                picture.close()  # frees its own copy of the pixels while ours are in use
            yield pixels


def _available_formats() -> tuple[str, ...]:
    """Return those of ``FORMATS`` that the installed Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn any error of a decoder into a DataError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about oddities of a file that can be read all the same
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # decoders raise errors of every type for broken files
            text = str(error) or type(error).__name__
            raise DataError(f"cannot read the image: {text} (at {path})") from error
