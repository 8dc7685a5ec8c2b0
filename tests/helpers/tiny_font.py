"""A font with a few characters, to stand for one that a system may have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager, get_data_path

from search_space.fonts import forget

EM = 1000  # units of the font's height


def write_font(path: Path, chars: str, *, blank: str = "") -> Path:
    """Write a TrueType font in which every character is a filled square; ``blank`` have none."""
    names = {char: f"c{ord(char):x}" for char in chars + blank}
    builder = FontBuilder(EM, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap({ord(char): name for char, name in names.items()})
    pen = TTGlyphPen(None)
    corners = ((0, 0), (0, 700), (700, 700), (700, 0))
    pen.moveTo(corners[0])
    for corner in corners[1:]:
        pen.lineTo(corner)
    pen.closePath()
    square, empty = pen.glyph(), TTGlyphPen(None).glyph()
    glyphs = {name: empty if char in blank else square for char, name in names.items()}
    builder.setupGlyf({".notdef": empty, **glyphs})
    builder.setupHorizontalMetrics({name: (EM, 0) for name in builder.font.getGlyphOrder()})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return path


@contextmanager
def system_fonts(*files: Path) -> Iterator[None]:
    """Let the system have only these fonts besides those in matplotlib."""
    manager, find = font_manager.fontManager, font_manager.findSystemFonts
    known: Sequence[font_manager.FontEntry] = manager.ttflist
    own = [entry for entry in known if entry.fname.startswith(get_data_path())]
    manager.ttflist = own
    font_manager.findSystemFonts = lambda *_, **__: []
    for file in files:
        manager.addfont(file)
    forget()
    try:
        yield
    finally:
        manager.ttflist, font_manager.findSystemFonts = known, find
        forget()
