"""The documentation keeps up with the code: links, paths and commands in all Markdown files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from locations import ROOT
from tools.cli import COMMANDS, make_parser

PAGES = sorted(
    path
    for folder in (".", "docs", "search_space", "searched_archs", "nasfpn_runtime", "controllers")
    for path in (ROOT / folder).glob("*.md")
)
# Packages whose README names its files by their paths inside the package.
MAPS = ("search_space", "nasfpn_runtime", "controllers")

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"`([^`\n]+)`")
# Not those of tests, which docs/reliability.md names by their paths inside tests/.
OUR_FILE = re.compile(
    r"\b(?:nasfpn_runtime|search_space|searched_archs|controllers)/"
    r"(?![\w/]*test_)[\w/.-]*\.(?:py|json|yaml)\b"
)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def without_code(text: str) -> str:
    return CODE_BLOCK.sub("", text)


def anchor(heading: str) -> str:
    """Return the fragment by which GitHub links to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_there_are_pages() -> None:
    assert {ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "search.md"} <= {*PAGES}


@every_page
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in LINK.findall(without_code(page.read_text())):
        if re.match(r"[a-z]+:", target):  # another site
            continue
        name, _, fragment = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        if fragment:
            headings = HEADING.findall(without_code(file.read_text()))
            assert fragment in map(anchor, headings), target


@every_page
def test_files_named_in_a_page_exist(page: Path) -> None:
    for name in OUR_FILE.findall(page.read_text()):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("package", MAPS)
def test_files_named_in_a_map_exist(package: str) -> None:
    folder = ROOT / package
    spans = CODE_SPAN.findall(without_code((folder / "README.md").read_text()))
    files = [span for span in spans if re.fullmatch(r"[\w/]+\.py", span)]
    assert files
    for name in files:
        assert (folder / name).is_file() or (ROOT / name).is_file(), name


def test_every_folder_of_the_runtime_is_on_its_map() -> None:
    text = (ROOT / "nasfpn_runtime" / "README.md").read_text()
    listed = re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)
    folders = {path.parent.name for path in (ROOT / "nasfpn_runtime").glob("*/__init__.py")}
    assert set(listed) == folders
    assert len(listed) == len(folders)


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each ``nasfpn`` command in the code blocks of a page.

    Continued lines are joined, comments dropped, and pipelines and lists (``&&``) split.
    """
    for language, block in CODE_BLOCK.findall(text):
        if language not in ("", "sh", "bash"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, "|"]:
                if not set(word) <= set("|&;<>"):
                    words.append(word)
                    continue
                if words[:1] == ["nasfpn"]:
                    yield words[1:]
                words = []


def test_commands_are_found_in_code_blocks() -> None:
    text = """
```
pip install x && nasfpn quickstart   # a comment
nasfpn draw nasfpn \\
    -o a.svg
ls | nasfpn predict m.onnx - --json - | jq '.[]'
```
"""
    assert list(commands(text)) == [
        ["quickstart"],
        ["draw", "nasfpn", "-o", "a.svg"],
        ["predict", "m.onnx", "-", "--json", "-"],
    ]


@every_page
def test_commands_in_code_blocks_parse(page: Path) -> None:
    for words in commands(page.read_text()):
        assert exit_code(words) == 0, shlex.join(["nasfpn", *words])


def exit_code(words: list[str]) -> object:
    """Return 0 if the parser takes a command, or prints what it asks for (``--version``)."""
    try:
        make_parser().parse_args(words)
    except SystemExit as error:
        return error.code
    return 0


@every_page
def test_commands_named_in_the_text_exist(page: Path) -> None:
    for span in CODE_SPAN.findall(without_code(page.read_text())):
        named = re.match(r"nasfpn ([a-z][\w-]*)", span)
        assert named is None or named[1] in COMMANDS, span
