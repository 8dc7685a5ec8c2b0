"""The tests that docs/reliability.md names are there."""

from __future__ import annotations

import re

from locations import ROOT


def test_every_fault_has_a_test_that_exists() -> None:
    rows = [
        line
        for line in (ROOT / "docs" / "reliability.md").read_text().splitlines()
        if line.startswith("|") and not line.startswith(("|---", "| fault |"))
    ]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, test in named:
            assert f"\ndef {test}(" in (ROOT / "tests" / file).read_text(), (file, test)
