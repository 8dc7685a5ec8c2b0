"""The help of every command: its examples work, and every default is in it."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from types import ModuleType

import pytest

from locations import ROOT
from tools import data, data_convert, data_split
from tools.cli import COMMANDS, EXAMPLES, GROUPS, make_parser
from tools.options import add_option

# Command line of a parser -> the examples in its help.
HELPS: dict[str, tuple[str, ...]] = {
    "": EXAMPLES,
    **{name: module.EXAMPLES for name, module in COMMANDS.items()},
    "data synth": data.SYNTH_EXAMPLES,
    "data check": data.CHECK_EXAMPLES,
    "data show": data.SHOW_EXAMPLES,
    "data split": data_split.EXAMPLES,
    "data convert": data_convert.EXAMPLES,
    "data create": data.CREATE_EXAMPLES,
}


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        make_parser().parse_args([*command.split(), "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every option have one line of help."""
    monkeypatch.setenv("COLUMNS", "500")


def test_the_help_lists_every_command_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("", capsys)
    for title, group in GROUPS.items():
        for name, module in group.items():
            assert re.search(rf"^{title}:\n(  .+\n)*  {name} +{module.HELP}$", text, re.M), name


@pytest.mark.parametrize("module", COMMANDS.values())
def test_a_command_is_listed_in_a_line_of_80_columns(module: ModuleType) -> None:
    assert len(f"  {'':15}{module.HELP}") <= 80
    assert module.HELP[0].isupper()
    assert not module.HELP.endswith(".")


@pytest.mark.parametrize("command", HELPS)
def test_a_help_ends_with_three_examples_that_the_parser_takes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = HELPS[command]
    lines = [f"  {line}" for line in examples]
    assert help_of(command, capsys).splitlines()[-len(lines) - 1 :] == ["examples:", *lines]
    assert len(set(examples)) >= 3
    for line in examples:
        assert line.startswith(f"nasfpn {command}")
        name, *arguments = shlex.split(line)
        args = make_parser().parse_args(arguments)
        assert name == "nasfpn"
        assert args.command in COMMANDS


@pytest.mark.parametrize("command", HELPS)
def test_every_option_with_a_value_has_a_default_or_is_required(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = re.sub(r"\n {10,}", "  ", help_of(command, capsys))  # below a long option's name
    usage = text.splitlines()[0]
    seen = 0
    for line in text.splitlines():
        first, *words = line.strip().split("  ")[0].replace(",", " ").split() or [""]
        if line.startswith("  -") and not all(word.startswith("-") for word in words):
            seen += 1
            required = f"[{first} " not in usage
            assert required != bool(re.search(r"\(default: \S.*\)$", line)), line
    assert seen or command in ("", "data")


def test_an_option_without_a_default_says_what_then_holds() -> None:
    parser = argparse.ArgumentParser()
    with pytest.raises(ValueError, match=r"--size.*default"):
        add_option(parser, "--size", help="side")


def test_the_version_is_that_of_the_package_and_needs_no_mindspore() -> None:
    code = "import sys; from tools.cli import main\ntry: main(['--version'])\n"
    code += "finally: print('mindspore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == f"nasfpn {version('nasfpn')}\nFalse\n"
    assert done.returncode == 0
