"""Errors of the system and of libraries are one line that names what the user gave."""

from __future__ import annotations

import errno
import sys
import warnings
from pathlib import Path

import pytest

from nasfpn_runtime.errors import DeviceError, first_line
from search_space.errors import UserError, mask_secrets
from tools.cli import COMMANDS, main
from tools.errors import TOO_LITTLE_MEMORY, one_line

ASCEND = (
    "Unsupported device target Ascend. This process only supports one of the ['CPU']. Please check "
    "whether the Ascend environment is installed and configured correctly, and check whether "
    'current mindspore wheel package was built with "-e Ascend". For details, please refer to '
    '"Device load error message".\n\n----\n- Device load error message:\n----\nLoad dynamic ...'
)


REQUIRED = {  # arguments that a command cannot do without
    "data": ["check", "d"],
    "train": ["--arch", "fpn", "--data", "d"],
    "eval": ["--checkpoint", "a.ckpt", "--data", "d"],
    "search": ["--data", "d", "--recipe", "shapes", "-o", "o"],
    "compare": ["--data", "d", "-o", "o"],
    "fidelity": ["--data", "d", "-o", "o"],
    "draw": ["fpn"],
    "export": ["a.ckpt", "--format", "onnx"],
    "predict": ["a.ckpt", "a.png"],
    "import": ["a.npz", "--source", "mmdet", "-o", "a.ckpt"],
    "import-config": ["a.yaml", "-o", "b.yaml"],
    "bench": ["genome"],
}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a b"),
            "cannot read a b: No such file or directory",
        ),
        (FileExistsError(errno.EEXIST, "File exists", "a"), "cannot write a: File exists"),
        (OSError(errno.ENOSPC, "No space left on device"), "cannot write: No space left on device"),
        (
            OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"),
            "cannot read b: Invalid cross-device link",
        ),
        (BlockingIOError("another process holds a"), "another process holds a"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), TOO_LITTLE_MEMORY),
        (MemoryError(), TOO_LITTLE_MEMORY),
        (
            UserError("cannot read a: [Errno 5] Input/output error"),
            "cannot read a: Input/output error",
        ),
        (UserError("no storage at mysql://me:a:b@c@host/x"), "no storage at mysql://me:***@host/x"),
    ],
)
def test_a_message_names_the_file_and_the_reason(error: Exception, line: str) -> None:
    assert one_line(error) == line


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_shows_numbers_or_secrets_of_errors(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: object) -> int:
        try:
            Path("/nowhere").read_text(encoding="utf-8")
        except OSError as error:
            raise DeviceError(f"cannot use postgresql://me:geheim@host/db: {error}\nmore") from None
        return 0

    monkeypatch.setattr(COMMANDS[command], "run", fail)
    assert main([command, *REQUIRED.get(command, [])]) == 2
    assert capsys.readouterr().err == (
        "nasfpn: error: cannot use postgresql://me:***@host/db: "
        "No such file or directory: '/nowhere' more\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_warning_is_one_line_without_source(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(args: object) -> int:
        # What Python's showwarning prints; pytest replaces that while a test runs.
        warning = RuntimeWarning("cannot read a\nof mysql://me:geheim@host")
        sys.stderr.write(warnings.formatwarning(warning, RuntimeWarning, "/source.py", 7, "x = 1"))
        return 0

    monkeypatch.setattr(COMMANDS[command], "run", warn)
    before = warnings.formatwarning
    assert main([command, *REQUIRED.get(command, [])]) == 0
    assert capsys.readouterr().err == "nasfpn: warning: cannot read a of mysql://me:***@host\n"
    assert warnings.formatwarning is before


def test_only_passwords_are_masked() -> None:
    for text in ("obs://bucket/a", "mysql://me@host", "a:b@c", "http://host:80/a and b@c", ""):
        assert mask_secrets(text) == text
    assert mask_secrets("'redis://:geheim@host'") == "'redis://:***@host'"
    assert mask_secrets("x://h/d?user=a&password=b&c=d") == "x://h/d?user=a&password=***&c=d"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mysql://u:p'w\"@h/d", "mysql://u:***@h/d"),
        ("mysql://us'er:pw@h", "mysql://us'er:***@h"),
        ("--storage=MYSQL://U:p/w@h", "--storage=MYSQL://U:***@h"),
        (
            "x://h?access_token=a&api_key=b;sslpassword=c",
            "x://h?access_token=***&api_key=***;sslpassword=***",
        ),
        ("x://h?a=1&secret-token=b'", "x://h?a=1&secret-token=***'"),
    ],
)
def test_passwords_are_masked_wherever_a_url_has_them(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


def test_two_sentences_of_an_error_of_mindspore_are_kept() -> None:
    assert first_line(RuntimeError(ASCEND)) == (
        "Unsupported device target Ascend. This process only supports one of the ['CPU']"
    )
    assert first_line(RuntimeError("")) == "an error"


@pytest.mark.parametrize(
    ("storage", "reason"),
    [
        ("sqlite:////nowhere/x.db", "unable to open database file"),
        ("mysql://me:geheim@localhost/db", "mysql://me:***@localhost/db"),
        ("nothing://me:geheim@localhost/db", "nothing://me:***@localhost/db"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line_without_its_password(
    storage: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from nasfpn_runtime.data.drawn import write_shapes

    write_shapes(tmp_path / "d", train=2, val=2, test=2, size=64)
    argv = ["search", "--data", str(tmp_path / "d"), "--recipe", "shapes-proxy", "--storage"]
    assert main([*argv, storage, "--controller", "random", "-o", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("nasfpn: error: cannot open storage ")
    assert reason in error
    assert "geheim" not in error
    assert "Background on this error" not in error
