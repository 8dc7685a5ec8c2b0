"""Fonts for texts with any characters, such as names of classes in Chinese.

Pictures are drawn with DejaVu Sans, which matplotlib includes. For characters that it lacks, the
fonts of the system are searched for one that has them. Characters that no font has are drawn as
boxes, and a line on standard error names a package with such a font, once.
"""

from __future__ import annotations

import os
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Any

import search_space.plotting  # noqa: F401 - before matplotlib, see there

# isort: split
from matplotlib import font_manager, get_data_path
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

FAMILY = "DejaVu Sans"  # included in matplotlib, so pictures are the same everywhere
REGULAR, BOLD = (
    os.path.join(get_data_path(), "fonts", "ttf", f"DejaVuSans{style}.ttf")
    for style in ("", "-Bold")
)
BOX = "\N{WHITE SQUARE}"
SHOWN = 5  # characters in the line on those that no font has

# Fonts of matplotlib that have placeholders or mathematical signs at the places of other
# characters.
_NOT_FOR_TEXT = ("LastResort", "cm", "STIXNonUni", "STIXSiz")

Piece = tuple[str, str]  # the file of a font, and the part of a text that is drawn with it

_lock = threading.Lock()
_files: dict[str, str | None] = {}  # a font for each character that a standard font lacks
_told: set[str] = set()  # packages that have been named


def tell(line: str) -> None:
    """Print a line on standard error."""
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


def pieces(text: str, font: str = REGULAR, report: Callable[[str], None] = tell) -> list[Piece]:
    """Divide a text into parts, each with a font that has all its characters.

    A character that no font has becomes ``BOX``. Signs that only change how the character before
    them looks are left out if their font lacks them.

    Args:
        font: file of the font to draw with wherever it has the characters.
        report: takes a line that names a package, when a character first lacks a font.
    """
    known = _characters(font)
    lacking = {c for c in text if ord(c) not in known and not c.isspace()}
    lacking -= {c for c in lacking if _is_selector(c)}
    found = _find(lacking) if lacking else {}
    if missing := sorted(c for c in lacking if found[c] is None):
        _tell_packages(missing, report)
    drawn = (
        (found.get(c) or font, BOX if c in lacking and found[c] is None else c)
        for c in text
        if ord(c) in known or c.isspace() or c in lacking
    )
    return [
        (file, "".join(c for _, c in group)) for file, group in groupby(drawn, lambda pair: pair[0])
    ]


def families(text: str, report: Callable[[str], None] = tell) -> tuple[str, list[str]]:
    """Return a text, with boxes for missing characters, and matplotlib's families to draw it."""
    parts = pieces(text, REGULAR, report)
    others = dict.fromkeys(file for file, _ in parts if file != REGULAR)
    return "".join(part for _, part in parts), [FAMILY, *map(_family, others)]


def use_fonts(figure: Figure, report: Callable[[str], None] = tell) -> None:
    """Let every text of a figure be drawn with fonts that have its characters.

    Call it when the figure is complete, before it is saved.
    """
    for artist in figure.findobj(Text):
        content = artist.get_text()
        drawn, names = families(content, report)
        if drawn != content:
            artist.set_text(drawn)
        if len(names) > 1:
            artist.set_fontfamily([*artist.get_fontfamily(), *names])


def forget() -> None:
    """Forget which fonts were found and which lines were printed, for fonts installed since."""
    with _lock:
        _files.clear()
        _told.clear()
        _characters.cache_clear()


def _is_selector(char: str) -> bool:
    """Return whether a character only selects a variant of the one before it."""
    return unicodedata.name(char, "").startswith("VARIATION SELECTOR")


def _find(lacking: Iterable[str]) -> dict[str, str | None]:
    """Return a font for each character, the same one for as many as possible; None if none has."""
    with _lock:
        if new := {c for c in lacking if c not in _files}:
            _files.update(_search(new))
        return {c: _files[c] for c in lacking}


def _search(lacking: set[str]) -> dict[str, str | None]:
    having = {path: _characters(path) for path in _candidates()}
    found: dict[str, str | None] = dict.fromkeys(lacking)
    left = set(lacking)
    for path in sorted(having, key=lambda path: _preference(path, lacking, having[path])):
        covered = {c for c in left if ord(c) in having[path]}
        drawn = covered - _blank(path, covered)
        found |= dict.fromkeys(drawn, path)
        left -= drawn
    return found


def _preference(path: str, lacking: set[str], having: frozenset[int]) -> tuple[Any, ...]:
    """Return a key that puts fonts with more of the characters first, then used and plain ones."""
    name = os.path.basename(path).lower()
    odd = [word in name for word in ("serif", "mono", "condensed", "oblique", "italic")]
    count = sum(ord(c) in having for c in lacking)
    return -count, path not in _files.values(), "regular" not in name, sum(odd), path


def _candidates() -> Iterator[str]:
    """Yield the files of the fonts that matplotlib knows, then of those installed since."""
    known = [entry.fname for entry in font_manager.fontManager.ttflist]
    for path in dict.fromkeys([*known, *font_manager.findSystemFonts()]):
        if not os.path.basename(path).startswith(_NOT_FOR_TEXT):
            yield path


@lru_cache(maxsize=1024)
def _characters(path: str) -> frozenset[int]:
    """Return the characters that a font has; none if its glyphs are not outlines."""
    try:
        font = FT2Font(path)
        # Not fonts of pictures, such as Noto Color Emoji, which matplotlib cannot scale.
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):  # not a font, or removed since
        return frozenset()


def _blank(path: str, chars: Iterable[str]) -> set[str]:
    """Return those of the characters that a font has without an outline.

    Fonts with colours may have their glyphs in a table that matplotlib does not draw.
    """
    blank = set()
    for char in chars:
        font = FT2Font(path)
        font.load_char(ord(char))
        if not len(font.get_path()[0]):
            blank.add(char)
    return blank


def _family(path: str) -> str:
    """Return a name by which matplotlib finds exactly this font."""
    name = f"nasfpn {path}"
    entries = font_manager.fontManager.ttflist
    if all(entry.name != name for entry in entries):
        for weight in (400, 700):  # a missing weight would be a warning
            entries.append(FontEntry(fname=path, name=name, weight=weight, size="scalable"))
    return name


def _tell_packages(missing: Iterable[str], report: Callable[[str], None]) -> None:
    groups: dict[str, list[str]] = {}
    for char in missing:
        groups.setdefault(_package(char), []).append(char)
    for package, chars in groups.items():
        with _lock:
            if package in _told:
                continue
            _told.add(package)
        listed = " ".join(chars[:SHOWN]) + (" ..." if len(chars) > SHOWN else "")
        report(
            f"warning: no font here has {listed}, drawn as a box; install one, on Debian and "
            f"Ubuntu: apt install {package}"
        )


def _package(char: str) -> str:
    """Return a package of Debian and Ubuntu with a font that has a character."""
    if unicodedata.category(char)[0] == "S":  # symbols, among them emoji
        return "fonts-unifont"
    wide = unicodedata.east_asian_width(char) in "WF"
    return "fonts-noto-cjk" if wide else "fonts-noto-core"
