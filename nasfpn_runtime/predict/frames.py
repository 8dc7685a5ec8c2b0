"""Open a file that may be anything: a picture, an animation, a video, or none of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.image import Pixels, to_pixels
from nasfpn_runtime.predict.video import VIDEOS, open_video

# Others of Pillow's run programs (EPS), are no pictures (GRIB, HDF5), or know no mark by which
# a file is theirs (TGA).
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI")
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")  # not MPO: its second picture is the other eye's


def open_frames(path: Path) -> tuple[int, Iterator[Pixels]]:
    """Return how many frames a file says it has, and the frames.

    Each is (height, width, 3) RGB, turned as a viewer shows it; see ``image.to_pixels``. A
    frame has at most Pillow's ``MAX_IMAGE_PIXELS``, 89 million. The count may be wrong where
    a file is broken.

    Raises:
        DataError: it is missing, broken or no such file, or a video and there is no FFmpeg;
            from the iterator, it is broken from there on.
    """
    with _reading(path):
        if not path.is_file():
            raise DataError(f"a picture is a file, got none (at {path})")
    if path.suffix.lower() in VIDEOS:
        return open_video(path)
    with _reading(path):
        picture = Image.open(path, formats=_formats())
        try:
            count = int(getattr(picture, "n_frames", 1)) if picture.format in ANIMATED else 1
        except BaseException:
            picture.close()
            raise
    return count, _pictures(picture, count, path)


def _pictures(picture: Image.Image, count: int, path: Path) -> Iterator[Pixels]:
    with picture:
        for number in range(count):
            with _reading(path):
                if count > 1:
                    picture.seek(number)
                picture.load()
                pixels = to_pixels(picture, upright=True)
            if number == count - 1:
                picture.close()  # or it would keep its pixels while these are used
            yield pixels


def _formats() -> tuple[str, ...]:
    """Return those of ``FORMATS`` that this Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is odd about a file and does not matter
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # a decoder's own: anything at all goes wrong in it
            text = str(error) or type(error).__name__
            raise DataError(f"a picture can be read, got {text} (at {path})") from error
