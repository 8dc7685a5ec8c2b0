"""Names that users choose, of classes, recipes and files: as they are shown, as paths, as keys."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable

SHOWN = 80  # characters of a name in tables and pictures
_MOST_BYTES = 100  # of a name in a path; file systems allow 255 for a file's whole name


def printable(text: str) -> str:
    r"""Return a text without control characters: an escape code is shown as ``\x1b``.

    Line breaks, NUL, and bytes of file names that are not UTF-8 are escaped, too.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def shown(name: str) -> str:
    """Return a name for a table or a picture: printable, and with at most ``SHOWN`` characters.

    The middle of a longer name is left out.
    """
    text = printable(name)
    if len(text) <= SHOWN:
        return text
    half = (SHOWN - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names, with a number after each that was there before: ``fish``, ``fish (2)``.

    Use it where names become keys. Two classes of a COCO file may have one name.
    """
    given = tuple(names)
    keys: dict[str, None] = {}
    for name in given:
        key, count = name, 1
        while key in keys or (count > 1 and key in given):
            count += 1
            key = f"{name} ({count})"
        keys[key] = None
    return tuple(keys)


def path_fault(name: str) -> str:
    """Return the rule that a name breaks if it may not become a part of a path, or ``""``.

    A name with a slash, for example, would leave its folder.
    """
    if not name or not name.isprintable() or "/" in name or "\\" in name or name[0] in ".-~":
        return "printable characters without / and \\, and must not start with . - or ~"
    if len(os.fsencode(name)) > _MOST_BYTES:
        return f"at most {_MOST_BYTES} bytes"
    return ""


def width(text: str) -> int:
    """Return the number of columns of a terminal that a printable text takes.

    Chinese, Japanese and Korean characters and most emoji take two columns (Unicode's East Asian
    Width), and marks that are combined with the character before them take none.
    """
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in ("Mn", "Me") for c in text)


def padded(text: str, columns: int) -> str:
    """Return a text with blanks after it, so that it takes that many columns of a terminal."""
    return text + " " * (columns - width(text))
