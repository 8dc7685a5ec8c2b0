"""README.md of search_space names every module, and no other."""

from __future__ import annotations

import re

from locations import ROOT


def test_readme_names_every_module() -> None:
    folder = ROOT / "search_space"
    modules = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    named = set(re.findall(r"`([\w/]+\.py)`", (folder / "README.md").read_text()))
    assert named == {name for name in modules if not name.endswith("__init__.py")}


def test_the_docstring_of_a_folder_names_every_module() -> None:
    for folder in ("cost", "drawing"):
        path = ROOT / "search_space" / folder
        modules = {file.name for file in path.glob("*.py")} - {"__init__.py"}
        text = (path / "__init__.py").read_text()
        assert set(re.findall(r"^- ``(\w+\.py)``", text, re.MULTILINE)) == modules
