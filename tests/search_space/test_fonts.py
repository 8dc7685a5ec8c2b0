"""Fonts for texts: which one draws a character, and what happens if none can."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

from search_space import fonts
from search_space.fonts import BOLD, BOX, REGULAR, families, forget, pieces, use_fonts
from tiny_font import system_fonts, write_font

CAT, DOG, CRANE = "\u732b", "\u72ac", "\u9db4"  # Chinese characters
BIRD = "\U0001f9a9"  # an emoji that DejaVu Sans lacks
TIBETAN = "\u0f40"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("fonts")
    two, one = write_font(folder / "two.ttf", CAT + DOG), write_font(folder / "one.ttf", CAT)
    # It claims all, as fonts with colours do whose glyphs are in another table.
    return [one, two, write_font(folder / "blank.ttf", "", blank=CAT + DOG + CRANE + BIRD)]


@pytest.fixture
def installed(files: list[Path]) -> Iterator[list[Path]]:
    with system_fonts(*files):
        yield files


@pytest.fixture
def bare() -> Iterator[None]:
    with system_fonts():
        yield


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text("aé κ5$_" + CAT + DOG + CRANE + BIRD + TIBETAN, max_size=12))
@pytest.mark.parametrize("font", [REGULAR, BOLD])
def test_every_part_has_a_font_with_its_characters(
    installed: list[Path], font: str, text: str
) -> None:
    parts = pieces(text, font, lambda line: None)
    drawn = "".join(part for _, part in parts)
    missing = CRANE + BIRD + TIBETAN
    assert drawn == "".join(BOX if char in missing else char for char in text)
    for file, part in parts:
        assert {*map(ord, part)} <= FT2Font(file).get_charmap().keys()
        assert (file in map(str, installed[:2])) == (set(part) <= {CAT, DOG})
        assert file in (font, *map(str, installed))
    assert all(one != other for (one, _), (other, _) in pairwise(parts))
    assert families(text, lambda line: None)[0] == drawn


def test_one_font_draws_as_much_as_possible(files: list[Path]) -> None:
    one, two = map(str, files[:2])
    with system_fonts(*files):
        assert pieces(f"a{CAT}{DOG}") == [(REGULAR, "a"), (two, CAT + DOG)]
        assert pieces(CAT) == [(two, CAT)]
    with system_fonts(*files):
        assert pieces(DOG) == [(two, DOG)]
        assert pieces(CAT) == [(two, CAT)]  # the font that is in use, before "one"
    with system_fonts(files[0]):
        assert pieces(CAT) == [(one, CAT)]


def test_a_text_that_the_standard_font_has_needs_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget()
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", lambda: pytest.fail("searched"))
    assert pieces("Katze κάτα 50 $") == [(REGULAR, "Katze κάτα 50 $")]
    assert families("cat") == ("cat", ["DejaVu Sans"])


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("char", "package"),
    [
        (CAT, "fonts-noto-cjk"),
        ("\u3042", "fonts-noto-cjk"),  # Hiragana
        ("\ud55c", "fonts-noto-cjk"),  # Hangul
        ("\uff0c", "fonts-noto-cjk"),  # a comma as wide as a character
        (BIRD, "fonts-unifont"),
        (TIBETAN, "fonts-noto-core"),
    ],
)
def test_a_missing_font_is_named_once(
    char: str, package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        assert pieces(f"a{char}b") == [(REGULAR, f"a{BOX}b")]
    (line,) = capsys.readouterr().err.splitlines()
    assert char in line
    assert line.endswith(f"apt install {package}")


@pytest.mark.usefixtures("bare")
def test_the_line_names_few_of_many_characters() -> None:
    lines: list[str] = []
    pieces("".join(map(chr, range(0x4E00, 0x4F00))) + BIRD, report=lines.append)
    assert len(lines) == 2
    assert all(len(line) < 120 for line in lines)


@pytest.mark.usefixtures("bare")
def test_a_font_that_is_installed_later_is_found(files: list[Path]) -> None:
    assert pieces(CAT, report=lambda line: None) == [(REGULAR, BOX)]
    with system_fonts(files[1]):
        assert pieces(CAT) == [(str(files[1]), CAT)]


def test_a_file_that_is_no_font_is_passed_over(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    found = [str(broken), str(tmp_path / "gone.ttf"), str(files[0])]
    with system_fonts():
        monkeypatch.setattr(fonts.font_manager, "findSystemFonts", lambda: found)
        assert pieces(CAT) == [(str(files[0]), CAT)]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.parametrize("count", [0, 3])
def test_a_figure_is_drawn_without_a_warning(
    files: list[Path], tmp_path: Path, count: int, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    figure = Figure(figsize=(3, 2))
    axes = figure.add_subplot(title=CAT, xlabel=f"{DOG} 5")
    axes.plot([1, 2], label=f"a{CRANE}{BIRD}")
    axes.legend(title=TIBETAN)
    axes.text(0, 1, f"{CAT}$", weight="bold", parse_math=False)
    with system_fonts(*files[:count]), warnings.catch_warnings():
        warnings.simplefilter("error")
        use_fonts(figure, lambda line: None)
        figure.savefig(tmp_path / f"figure.{suffix}")
    assert not caplog.records
    assert (axes.get_title() == CAT) == (count > 0)


def test_a_character_is_drawn_with_the_font_that_has_it(files: list[Path]) -> None:
    def ink(char: str) -> int:
        """Return the number of dark pixels of a character of 100 px on a white ground."""
        figure = Figure(figsize=(2, 2), dpi=100, facecolor="white")
        figure.text(0.1, 0.3, char, fontsize=72)
        use_fonts(figure, lambda line: None)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return int((np.asarray(canvas.buffer_rgba())[..., 0] < 128).sum())

    with system_fonts(*files):
        assert ink(CAT) == pytest.approx(70 * 70, rel=0.05)  # a filled square of 0.7 em
        assert ink(CRANE) == ink(BOX) < 70 * 70 / 2
