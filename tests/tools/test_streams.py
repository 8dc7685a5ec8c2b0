"""Every command with closed, full, narrow and ASCII streams: exit codes as ever, no traceback."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_runs import COMMAND, SHORT, arguments, write_inputs
from locations import ROOT
from tools.cli import COMMANDS
from tools.streams import MessageStream

# What a shell does to the streams, and the environment.
CONDITIONS = {
    "no standard output": (">&-", {}),
    "no standard error": ("2>&-", {}),
    "no streams": ("<&- >&- 2>&-", {}),
    "a full disk": (">/dev/full", {}),
    "a full disk for messages": ("2>/dev/full", {}),
    "ASCII and narrow": ("", {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "COLUMNS": "20"}),
    # File names cannot be other than ASCII either.
    "POSIX": (
        "",
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "1"},
    ),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder, checkpoint=False)
    return folder


def run(argv: list[str], condition: str | None, folder: Path) -> subprocess.CompletedProcess[bytes]:
    redirections, variables = CONDITIONS[condition] if condition else ("", {})
    unset = {"LC_ALL", "LANG", "PYTHONIOENCODING", "COLUMNS"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {redirections}', "-", *COMMAND, *argv],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def test_every_command_has_a_run() -> None:
    assert set(SHORT) == set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_the_same_whatever_its_streams_are(
    command: str, inputs: Path, tmp_path: Path
) -> None:
    template, code = SHORT[command]
    usual = run(arguments(template, inputs), None, tmp_path)
    assert usual.returncode == code, usual.stderr.decode()
    for condition in CONDITIONS:
        done = run(arguments(template, inputs), condition, tmp_path)
        full = condition == "a full disk" and usual.stdout
        codes = {2} if full else {code, 2} if condition == "POSIX" else {code}
        assert done.returncode in codes, (condition, done.stderr.decode())
        assert b"Traceback" not in done.stderr, condition
        assert b"Exception ignored" not in done.stderr, condition
        if full:
            assert done.stderr.endswith(
                b"nasfpn: error: cannot write standard output: No space left on device\n"
            )
        if condition == "ASCII and narrow":
            assert (done.stdout + done.stderr).isascii()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["a full disk", "POSIX"])
def test_help_is_printed_whatever_the_streams_are(condition: str, tmp_path: Path) -> None:
    for command in ([], *([name] for name in COMMANDS)):
        done = run([*command, "--help"], condition, tmp_path)
        assert done.returncode == (2 if condition == "a full disk" else 0), command
        assert b"Traceback" not in done.stderr, command


def test_a_file_gets_no_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import sys; from tools import archs, cli\n"
        f"archs.run = lambda args: open({str(tmp_path / 'file')!r}, 'w').fileno() < 3\n"
        "sys.exit(cli.main(['archs']))"
    )
    command = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "-", sys.executable, "-c", code]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == 0


def test_messages_that_cannot_be_written_are_dropped() -> None:
    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    stream = MessageStream(io.TextIOWrapper(io.BufferedWriter(Full(), 1), write_through=True))
    print("a" * 10_000, file=stream, flush=True)
    assert stream.error is not None
    assert stream.encoding
