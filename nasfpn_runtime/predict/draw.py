"""Draw boxes, names and scores on an image."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.pictures.image import Pixels
from nasfpn_runtime.progress import say
from search_space import fonts
from search_space.names import shown

Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]  # first and last column and row: x1, y1, x2, y2 px

# The palette of Okabe and Ito (2008), which colour-blind people can tell apart, without black and
# white. The colours that differ most come first.
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

# Width of lines and height of text, as fractions of the square root of the number of pixels: 2 px
# and 13 px on an image of 640 x 480.
_LINE = 1 / 280
_TEXT = 1 / 44
_MIN_TEXT = 9  # px


def draw(pixels: Pixels, detections: Detections) -> Image.Image:
    """Return the image with its detections, the one with the highest score on top.

    A class has the same colour in every image; colours repeat beyond ``PALETTE``. Lines have
    dark edges and names have a background, so that they are visible on any image.

    Args:
        pixels: (height, width, 3) RGB uint8.
        detections: boxes in pixels of the image, with the names of the classes.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    pen = ImageDraw.Draw(picture)
    unit = math.sqrt(picture.width * picture.height)
    line = max(1, round(unit * _LINE))
    boxes = [_to_rectangle(box, picture.size) for box in detections.boxes]
    colours = [PALETTE[label % len(PALETTE)] for label in detections.labels]
    for box, colour in reversed(list(zip(boxes, colours, strict=True))):
        _draw_outline(pen, box, colour, line)
    points = max(_MIN_TEXT, round(unit * _TEXT))
    taken = np.zeros((0, 4))
    rows = zip(boxes, colours, detections.names, detections.scores, strict=True)
    for box, colour, name, score in rows:
        text = _Text(f"{shown(name)} {score:.2f}", points)
        size = text.size
        if size[0] > picture.width or size[1] > picture.height:
            continue
        label = place_label(box, size, picture.size, taken)
        taken = np.vstack([taken, label])
        pen.rectangle(label, fill=colour)
        text.draw(pen, (label[0], label[1]), text_colour(colour))
    return picture


def _to_rectangle(box: NDArray[np.float32], size: tuple[int, int]) -> Rectangle:
    """Return the pixels that a box touches: at least one, and all inside the image."""
    x1, y1 = (min(max(math.floor(v), 0), s - 1) for v, s in zip(box[:2], size, strict=True))
    x2, y2 = (min(math.ceil(v), s) - 1 for v, s in zip(box[2:], size, strict=True))
    return x1, y1, max(x1, x2), max(y1, y2)


def _draw_outline(pen: ImageDraw.ImageDraw, box: Rectangle, colour: Colour, line: int) -> None:
    x1, y1, x2, y2 = box
    edge = max(1, line // 2)
    if min(x2 - x1, y2 - y1) > 2 * (line + 2 * edge):
        pen.rectangle(box, outline=DARK, width=line + 2 * edge)
        box = (x1 + edge, y1 + edge, x2 - edge, y2 - edge)
    pen.rectangle(box, outline=colour, width=line)


def place_label(
    box: Rectangle, size: tuple[int, int], picture: tuple[int, int], taken: NDArray[np.float64]
) -> Rectangle:
    """Return the rectangle for a label that covers least of the labels before it.

    Candidates are, in order of preference: above the box, inside at its top, inside at its
    bottom, below it; each at the left and then at the right.

    Args:
        box: the box that the label belongs to.
        size: (width, height) of the label in px.
        picture: (width, height) of the image in px.
        taken: (n, 4) rectangles of the labels before it.
    """
    width, height = size
    x1, y1, x2, y2 = box
    corners = [
        (x, y) for y in (y1 - height, y1, y2 - height + 1, y2 + 1) for x in (x1, x2 - width + 1)
    ]
    candidates = []
    for x, y in corners:
        left = min(max(x, 0), picture[0] - width)
        top = min(max(y, 0), picture[1] - height)
        candidates.append((left, top, left + width - 1, top + height - 1))
    covered = [covered_pixels(candidate, taken) for candidate in candidates]
    return candidates[int(np.argmin(covered))]


def covered_pixels(rectangle: Rectangle, taken: NDArray[np.float64]) -> float:
    """Return the number of pixels that a rectangle covers of each in ``taken`` (n, 4), summed."""
    low = np.maximum(taken[:, :2], rectangle[:2])
    high = np.minimum(taken[:, 2:], rectangle[2:])
    sides = high - low + 1
    return float(sides.clip(0).prod(axis=1).sum())


def text_colour(background: Colour) -> Colour:
    """Return black or white, whichever has more contrast with a background by WCAG 2.1."""
    value = np.array(background) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    # Contrast is the ratio of luminances + 0.05; black has luminance 0 and white 1.
    return DARK if (luminance + 0.05) ** 2 > 0.05 * 1.05 else LIGHT


class _Text:
    """A line of text, each part with a font that has its characters.

    Attributes:
        size: (width, height) in px, with some space on the left and right.
    """

    def __init__(self, text: str, points: int) -> None:
        self.parts = [
            (_font(file, points), part) for file, part in fonts.pieces(text, fonts.BOLD, say)
        ]
        self.padding = max(1, round(points / 5))
        ascents, descents = zip(*(font.getmetrics() for font, _ in self.parts), strict=True)
        self.ascent = max(ascents)
        width = math.ceil(sum(font.getlength(part) for font, part in self.parts))
        self.size = width + 2 * self.padding, self.ascent + max(descents)

    def draw(self, pen: ImageDraw.ImageDraw, corner: tuple[int, int], colour: Colour) -> None:
        """Draw the text in a rectangle of its size with that top left corner."""
        x, y = float(corner[0] + self.padding), corner[1] + self.ascent
        for font, part in self.parts:
            pen.text((x, y), part, fill=colour, font=font, anchor="ls")  # on one baseline
            x += font.getlength(part)


@lru_cache(maxsize=64)
def _font(file: str, points: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, points)
