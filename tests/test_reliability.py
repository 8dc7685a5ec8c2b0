"""Every row of the tables in docs/reliability.md names a test that exists."""

from __future__ import annotations

import re

from locations import ROOT

# A test as the page names it: its file, relative to tests/, and its function.
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def test_every_fault_has_a_test_that_exists() -> None:
    rows = [
        line
        for line in (ROOT / "docs" / "reliability.md").read_text().splitlines()
        if line.startswith("|") and not line.startswith(("|---", "| fault |"))
    ]
    assert len(rows) > 30
    missing = []
    for row in rows:
        named = TEST.findall(row)
        assert named, row
        assert len(named) == row.count("::"), row  # no test is named in another form
        missing += [f"{file}::{test}" for file, test in named if not exists(file, test)]
    assert missing == []


def exists(file: str, test: str) -> bool:
    """Return whether a file under tests/ defines a test function."""
    path = ROOT / "tests" / file
    return path.is_file() and f"\ndef {test}(" in path.read_text()


def test_names_of_tests_may_have_folders() -> None:
    row = "| a fault | what happens | `runtime/data/test_coco.py::test_a`, `test_x.py::test_b` |"
    assert TEST.findall(row) == [("runtime/data/test_coco.py", "test_a"), ("test_x.py", "test_b")]
