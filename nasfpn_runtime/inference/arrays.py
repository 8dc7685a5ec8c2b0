"""The kinds of images that a detector takes."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.image import Pixels, read_image, to_pixels

Picture = str | PathLike[str] | Image.Image | Pixels


def to_array(picture: Picture) -> Pixels:
    """Return a path, PIL image or array as (height, width, 3) RGB, turned as a viewer shows it.

    Raises:
        DataError: the image cannot be read, or the value is not an image.
    """
    if isinstance(picture, Image.Image):
        return to_pixels(picture, upright=True)
    if not isinstance(picture, np.ndarray):
        return read_image(Path(picture), upright=True)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise DataError(
            f"an image must be (height, width, 3) uint8, got {picture.shape} {picture.dtype}"
        )
    return picture
