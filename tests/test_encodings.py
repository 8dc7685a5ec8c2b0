"""Text files are UTF-8, whatever the locale is."""

from __future__ import annotations

import ast
from pathlib import Path

from locations import ROOT

PACKAGES = ("search_space", "searched_archs", "nasfpn_runtime", "controllers", "tools")
OTHERS = {"Image", "os", "source"}  # their `open` is not Python's


def without_encoding(path: Path) -> list[int]:
    """Return the lines of a file that read or write text in the encoding of the locale."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and _opens_text(node)
        and "encoding" not in {keyword.arg for keyword in node.keywords}
    ]


def _opens_text(call: ast.Call) -> bool:
    function, owner = call.func, None
    if isinstance(function, ast.Attribute):
        name, owner = function.attr, getattr(function.value, "id", None)
    else:
        name = getattr(function, "id", "")
    if name in ("read_text", "write_text"):
        return True
    texts = [value for value in map(_text, call.args) if value]
    binary = any("b" in text and set(text) <= set("rwaxb+") for text in texts)
    opens = name == "fdopen" or (name == "open" and owner not in OTHERS)
    return opens and not binary


def _text(node: ast.expr) -> str | None:
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) else None


def test_every_text_file_is_opened_as_utf_8() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in without_encoding(path)
    ]
    assert faults == []


def test_a_file_without_encoding_is_found(tmp_path: Path) -> None:
    source = tmp_path / "a.py"
    source.write_text(
        "p.read_text()\nopen(p)\np.open('a')\nopen(p, 'rb')\nos.open(p, 0)\n"
        "p.write_text(t, encoding='utf-8')\n",
        encoding="utf-8",
    )
    assert without_encoding(source) == [1, 2, 3]
