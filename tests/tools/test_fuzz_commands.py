"""Command lines drawn from the parser's own options, with hostile values."""

from __future__ import annotations

import subprocess
import sys

import pytest

from locations import HELPERS, ROOT
from runs import LIMIT
from tools.cli import main


@pytest.mark.slow
def test_no_command_line_ends_in_a_traceback_or_changes_what_it_may_not() -> None:
    command = [sys.executable, str(HELPERS / "fuzz_commands.py"), "150", "--seed", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * LIMIT, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reached real work" in done.stdout
    assert "exit code 0" in done.stdout


def test_two_dashes_are_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["eval", "--checkpoint=--", "--data", "d"])
    assert "--checkpoint: expected a value, got --" in capsys.readouterr().err


def test_text_that_no_file_name_can_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["data", "synth", "\ud800"])
    assert "that a file name can have, got '\\ud800'" in capsys.readouterr().err
