"""Boxes, names and scores on a picture."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.pictures.image import Pixels

Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]  # first and last column and row: x1, y1, x2, y2 px

# Okabe and Ito (2008), told apart by the colour-blind; without black and white, and with those
# first that differ most.
PALETTE: tuple[Colour, ...] = (
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
    (204, 121, 167),
    (230, 159, 0),
    (0, 158, 115),
    (0, 114, 178),
)
DARK: Colour = (0, 0, 0)
LIGHT: Colour = (255, 255, 255)

# Of the square root of a picture's pixels: 2 px and 13 px on one of 640 x 480.
_LINE = 1 / 280
_TEXT = 1 / 44
_LEAST_TEXT = 9


def draw(pixels: Pixels, found: Detections) -> Image.Image:
    """Return the picture with what was found in it, the best on top.

    A class has a colour, the same in every picture; beyond ``PALETTE`` they repeat. Lines
    have dark edges and names a ground of their own, so that they show on anything.

    Args:
        pixels: (height, width, 3) RGB uint8.
        found: boxes in its pixels, with the names of the classes.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    pen = ImageDraw.Draw(picture)
    unit = math.sqrt(picture.width * picture.height)
    line = max(1, round(unit * _LINE))
    boxes = [_rectangle(box, picture.size) for box in found.boxes]
    colours = [PALETTE[label % len(PALETTE)] for label in found.labels]
    for box, colour in reversed(list(zip(boxes, colours, strict=True))):
        _outline(pen, box, colour, line)
    font = _font(max(_LEAST_TEXT, round(unit * _TEXT)))
    taken = np.zeros((0, 4))
    for box, colour, name, score in zip(boxes, colours, found.names, found.scores, strict=True):
        text = f"{name} {score:.2f}"
        size = _text_size(font, text)
        if size[0] > picture.width or size[1] > picture.height:
            continue
        place = _free_place(box, size, picture.size, taken)
        taken = np.vstack([taken, place])
        pen.rectangle(place, fill=colour)
        pen.text((place[0] + _pad(font), place[1]), text, fill=_readable(colour), font=font)
    return picture


def _rectangle(box: NDArray[np.float32], size: tuple[int, int]) -> Rectangle:
    """Return the pixels that a box touches, at least one and inside the picture."""
    x1, y1 = (min(max(math.floor(v), 0), s - 1) for v, s in zip(box[:2], size, strict=True))
    x2, y2 = (min(math.ceil(v), s) - 1 for v, s in zip(box[2:], size, strict=True))
    return x1, y1, max(x1, x2), max(y1, y2)


def _outline(pen: ImageDraw.ImageDraw, box: Rectangle, colour: Colour, line: int) -> None:
    x1, y1, x2, y2 = box
    edge = max(1, line // 2)
    if min(x2 - x1, y2 - y1) > 2 * (line + 2 * edge):
        pen.rectangle(box, outline=DARK, width=line + 2 * edge)
        box = (x1 + edge, y1 + edge, x2 - edge, y2 - edge)
    pen.rectangle(box, outline=colour, width=line)


def _free_place(
    box: Rectangle, size: tuple[int, int], picture: tuple[int, int], taken: NDArray[np.float64]
) -> Rectangle:
    """Return where a name covers least of the names before it, from the best place on.

    Above the box, in its top, in its bottom, below it; each at the left and at the right.
    """
    width, height = size
    x1, y1, x2, y2 = box
    corners = [
        (x, y) for y in (y1 - height, y1, y2 - height + 1, y2 + 1) for x in (x1, x2 - width + 1)
    ]
    places = []
    for x, y in corners:
        left = min(max(x, 0), picture[0] - width)
        top = min(max(y, 0), picture[1] - height)
        places.append((left, top, left + width - 1, top + height - 1))
    covered = [_covered(place, taken) for place in places]
    return places[int(np.argmin(covered))]


def _covered(place: Rectangle, taken: NDArray[np.float64]) -> float:
    """Return how many pixels of the rectangles in ``taken`` (n, 4) a place covers."""
    sides = np.minimum(taken[:, 2:], place[2:]) - np.maximum(taken[:, :2], place[:2]) + 1
    return float(sides.clip(0).prod(axis=1).sum())


def _readable(ground: Colour) -> Colour:
    """Return the colour of text on a ground: that of more contrast, by WCAG 2.1."""
    value = np.array(ground) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    # Contrast is the quotient of luminances + 0.05, which are 0 and 1 of black and white.
    return DARK if (luminance + 0.05) ** 2 > 0.05 * 1.05 else LIGHT


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Pillow's own font has no letters beyond Latin.
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path(), "fonts/ttf/DejaVuSans-Bold.ttf"), size)


def _pad(font: ImageFont.FreeTypeFont) -> int:
    return max(1, round(font.size / 5))


def _text_size(font: ImageFont.FreeTypeFont, text: str) -> tuple[int, int]:
    ascent, descent = font.getmetrics()
    return math.ceil(font.getlength(text)) + 2 * _pad(font), ascent + descent
