"""Where the repository and the tests' files are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "tests" / "assets"
HELPERS = ROOT / "tests" / "helpers"
TWO_LEVELS = ASSETS / "two_levels.json"  # the smallest genome: fast to compile
