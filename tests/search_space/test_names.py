"""Names that users choose: shown without control characters, checked as paths, unique as keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_space.names import SHOWN, padded, path_fault, printable, shown, unique, width

# With surrogates, as in file names that are not UTF-8.
any_text = st.text(st.characters(exclude_categories=()))


@given(any_text)
def test_what_is_shown_is_one_printable_line_of_limited_length(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text).encode("utf-8").decode("utf-8") == printable(text)
    assert shown(text).isprintable()
    assert len(shown(text)) <= SHOWN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain näme 猫", "plain näme 猫"),
        ("$\\frac{1$", "$\\frac{1$"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\r\t\0", "a\\nb\\r\\t\\x00"),
        ("\u202ereversed\x9b", "\\u202ereversed\\x9b"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_are_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected == shown(text)


def test_a_long_name_keeps_both_ends() -> None:
    text = shown("first" + "x" * 1000 + "last")
    assert text.startswith("first")
    assert text.endswith("last")


@given(st.lists(st.sampled_from(["a", "b", "a (2)", "a (3)", "a (2) (2)", ""])))
def test_keys_are_unique_and_names_without_a_twin_stay(names: list[str]) -> None:
    keys = unique(names)
    assert len(set(keys)) == len(keys) == len(names)
    for index, (key, name) in enumerate(zip(keys, names, strict=True)):
        assert key.startswith(name)
        if name not in names[:index]:
            assert key == name


def test_the_second_of_a_name_has_a_number() -> None:
    assert unique(["fish", "fish", "cat", "fish"]) == ("fish", "fish (2)", "cat", "fish (3)")
    assert unique(["fish", "fish", "fish (2)"]) == ("fish", "fish (3)", "fish (2)")


@given(any_text)
def test_a_name_without_fault_stays_in_its_folder(tmp_path_factory: object, name: str) -> None:
    if not path_fault(name):
        path = Path("folder", name)
        assert path.parent == Path("folder")
        assert path.name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../../x",
        "/etc/x",
        "a/b",
        "a\\b",
        ".hidden",
        "-o",
        "~",
        "a\nb",
        "a\0",
        "x" * 101,
    ],
)
def test_names_that_may_not_become_paths(name: str) -> None:
    assert path_fault(name)


@pytest.mark.parametrize("name", ["bccd-256", "my recipe (2)", "tf_r50.7x256", "猫" * 33])
def test_names_that_may_become_paths(name: str) -> None:
    assert path_fault(name) == ""


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("cat", 3),
        ("\u732b", 2),
        ("\ud55c\uae00 a", 6),  # two syllables of Hangul, a blank and a letter
        ("\uff23", 2),  # a Latin letter as wide as a Chinese character
        ("\uff76", 1),  # half as wide Katakana
        ("\U0001f600", 2),
        ("e\u0301", 1),  # an accent over the letter
        ("\u2764\ufe0f", 1),
        ("", 0),
    ],
)
def test_wide_characters_take_two_columns_and_marks_none(text: str, columns: int) -> None:
    assert width(text) == columns
    for wanted in range(8):
        filled = padded(text, wanted)
        assert filled.startswith(text)
        assert width(filled) == max(wanted, columns)
