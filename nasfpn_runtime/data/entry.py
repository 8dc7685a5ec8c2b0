"""Values of annotation files: ids, numbers, flags and boxes, in every spelling that tools write."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, TypeAlias

# The id of an image or category. Most files have integers; some have text, such as a file name.
Id: TypeAlias = int | float | str

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"-?\d{1,100}", re.ASCII)
_FLAGS = {"0": False, "1": True, "false": False, "true": True}


def identifier(value: object) -> Id | None:
    """Return an id as it is kept, or None for what is no id.

    A number that is an integer in value becomes an integer: 1.0 and 1 are the same id. Integers
    may have any number of digits.
    """
    if isinstance(value, str):
        return value or None
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def other_spelling(value: Id) -> Id | None:
    """Return the number for a text that is one, and the text for a number; None if there is none.

    Some tools write ids as numbers in one list of a file, and as text in another.
    """
    if not isinstance(value, str):
        return str(value)
    if _INTEGER.fullmatch(value):  # of any number of digits
        return int(value)
    found = number(value)
    return None if found is None else identifier(found)


def number(value: object) -> float | None:
    """Return a finite number, also if it is written as text; None for anything else.

    It is not rounded, and is None if a float cannot represent it.
    """
    if type(value) is float:  # the usual case first: sets have millions of numbers
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        value = float(value) if _NUMBER.fullmatch(value.strip()) else None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def length(value: object) -> int | None:
    """Return the side of an image: a number from 1 that is an integer in value; else None."""
    found = number(value)
    return int(found) if found is not None and found >= 1 and found.is_integer() else None


def flag(value: object) -> bool | None:
    """Return a flag such as ``iscrowd``: 0, 1, true, false, also as text; None for anything else.

    A flag that is missing, or null, is false.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str):
        return _FLAGS.get(value.strip().lower())
    return bool(value) if value in (0, 1) else None


def box_of(entry: Mapping[str, Any]) -> tuple[list[float] | None, bool]:
    """Return x, y, width, height of an annotation in COCO's form, and whether from its outline.

    The box is ``bbox`` or, where that is missing, empty or all zero, the smallest one around the
    ``segmentation``. It is None if neither has four finite numbers.
    """
    given = entry.get("bbox")
    box = numbers(given) if isinstance(given, list) else None
    if given in (None, []) or box == [0, 0, 0, 0]:
        outline = _outline_box(entry.get("segmentation"))
        if outline is not None:
            return outline, True
    return (box if box is not None and len(box) == 4 else None), False


def numbers(values: list[Any]) -> list[float] | None:
    """Return a list of finite numbers; None if one of the values is something else."""
    found = [number(value) for value in values]
    return None if None in found else [value for value in found if value is not None]


def around(points: list[float]) -> list[float] | None:
    """Return x, y, width, height of the box around points x1, y1, x2, y2, ...

    It is None for fewer than three points, or if a coordinate is missing.
    """
    if len(points) < 6 or len(points) % 2:
        return None
    xs, ys = points[::2], points[1::2]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _outline_box(outline: object) -> list[float] | None:
    """Return the box around COCO's polygons, or around a mask as run lengths."""
    if isinstance(outline, list):
        parts = [around(numbers(part) or []) for part in outline if isinstance(part, list)]
        boxes = [box for box in parts if box is not None]
        if not boxes or len(boxes) < len(outline):
            return None
        corners = [point for x, y, w, h in boxes for point in (x, y, x + w, y + h)]
        return around([*corners, *corners])
    return _mask_box(outline) if isinstance(outline, dict) else None


def _mask_box(outline: dict[str, Any]) -> list[float] | None:
    """Return the box around a mask: run lengths of 0 and 1 in turn, column by column."""
    size, counts = outline.get("size"), outline.get("counts")
    sides = [length(side) for side in size] if isinstance(size, list) else []
    runs = _decompressed(counts) if isinstance(counts, str) else counts
    if len(sides) != 2 or sides[0] is None or sides[1] is None or not isinstance(runs, list):
        return None
    if not all(isinstance(run, int) and run >= 0 for run in runs):
        return None
    height, ends = sides[0], list(accumulate(runs))
    if not ends or ends[-1] != height * sides[1]:
        return None
    ones = [(start, end - 1) for start, end in zip(ends[::2], ends[1::2], strict=False)]
    ones = [(first, last) for first, last in ones if first <= last]
    if not ones:
        return None
    x1, x2 = ones[0][0] // height, ones[-1][1] // height + 1
    within = [(a % height, b % height) for a, b in ones if a // height == b // height]
    across = [(0, height - 1)] if len(within) < len(ones) else []
    y1 = min(top for top, _ in within + across)
    y2 = max(bottom for _, bottom in within + across) + 1
    return [x1, y1, x2 - x1, y2 - y1]


def _decompressed(text: str) -> list[int]:
    """Return the run lengths in a text as COCO compresses them.

    Five bits in each character from ``0`` on, the lowest first, a sixth bit if more follow; from
    the fourth run on the difference to the run before the last (pycocotools, ``rleFrString``).
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return []
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    return [] if shift else runs
