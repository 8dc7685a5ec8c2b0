"""The ``nasfpn`` command: one module of this package per subcommand.

Each module has ``HELP`` (one line), ``DESCRIPTION``, ``EXAMPLES``, ``add_arguments(parser)`` and
``run(args)``. Importing them is fast: they import what they need when they run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import NoReturn

from nasfpn_runtime import interrupts
from nasfpn_runtime.cluster import graph_store
from tools import (
    archs,
    bench,
    compare,
    data,
    draw,
    evaluate,
    export,
    fidelity,
    import_checkpoint,
    import_config,
    predict,
    quickstart,
    recipes,
    search,
    train,
)
from tools.errors import one_line, user_errors, warnings_in_one_line
from tools.options import help_settings
from tools.streams import StreamError, flush_output, prepare
from tools.supervisor import stopped_line

# What a user wants to do -> the commands for it, in the order of the help.
GROUPS = {
    "start": {"quickstart": quickstart},
    "data": {"data": data},
    "train": {"recipes": recipes, "train": train, "eval": evaluate},
    "search": {"search": search, "compare": compare, "fidelity": fidelity},
    "look at cell graphs": {"archs": archs, "draw": draw},
    "deploy": {"export": export, "predict": predict},
    "import": {"import": import_checkpoint, "import-config": import_config},
    "measure": {"bench": bench},
}
COMMANDS = {name: module for group in GROUPS.values() for name, module in group.items()}
# Variables, unless the user sets them. MindSpore's log has errors only, and what it writes when it
# fails to compile does not go to the current folder. Compiled networks are kept.
ENVIRONMENT = {
    "GLOG_v": "3",
    "MS_OM_PATH": os.path.join(tempfile.gettempdir(), "nasfpn"),
    graph_store.VARIABLE: graph_store.default_folder(),
}
DESCRIPTION = "Search, train, score, draw and deploy feature pyramids for object detection."
EXAMPLES = (
    "nasfpn quickstart",
    "nasfpn data synth shapes",
    "nasfpn train --arch nasfpn --data shapes --recipe shapes",
)


class Parser(argparse.ArgumentParser):
    """A parser whose messages have neither control characters nor long values; also subcommands."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and a message, and exit with code 2."""
        from search_space.errors import message_text
        from search_space.names import printable

        super().error(message_text(printable(message)))


class PrintVersion(argparse.Action):
    """Print the version of the installed package and exit."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, *args: object, **settings: object) -> None:
        """Look the version up only now: importing ``importlib.metadata`` takes a while."""
        from importlib.metadata import version

        print(f"nasfpn {version('nasfpn')}")
        sys.exit(0)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    listing = ""
    for title, group in GROUPS.items():
        listing += f"\n{title}:\n"
        listing += "".join(f"  {name:15}{module.HELP}\n" for name, module in group.items())
    more = "\n`nasfpn COMMAND --help` lists the options of a command."
    parser = Parser(
        prog="nasfpn",
        usage="nasfpn [-h] [--version] COMMAND ...",
        **help_settings(f"{DESCRIPTION}\n{listing}{more}", EXAMPLES),
    )
    parser.add_argument("--version", action=PrintVersion, help="print the version and exit")
    # The description lists the commands: argparse itself cannot group them.
    commands = parser.add_subparsers(
        prog="nasfpn", dest="command", metavar="COMMAND", required=True, help=argparse.SUPPRESS
    )
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, **help_settings(module.DESCRIPTION, module.EXAMPLES))
        module.add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code.

    0: success. 1: some input is faulty (``data check``, ``predict``). 2: a user error, printed in
    one line. 129, 130 or 143: interrupted by SIGHUP, SIGINT or SIGTERM.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    prepare()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings_in_one_line():
            code = _run(arguments)
    except SystemExit as end:  # of argparse
        if end.code:
            raise
        code = 0
    except StreamError:
        code = 2
    except Exception as error:
        if not isinstance(error, user_errors()):
            raise
        code = _fail(error)
    unwritten = flush_output()
    return code if unwritten is None else _fail_output(unwritten)


def _run(arguments: Sequence[str]) -> int:
    parser = make_parser()
    for argument in arguments:
        if argument.startswith("--") and argument.endswith("=--"):  # argparse would drop the `--`
            parser.error(f"argument {argument[:-3]}: expected a value, got --")
        if not _is_encodable(argument):  # a script may give it; a shell cannot
            parser.error(f"arguments must be text that a file name can have, got {argument!a}")
    args = parser.parse_args(arguments, argparse.Namespace(argv=list(arguments)))
    with interrupts.remembered():
        try:
            interrupts.let_in()
            code: int = COMMANDS[args.command].run(args)
        except KeyboardInterrupt:
            start = "\n" if sys.stderr.isatty() else ""  # after a bar, or the ^C of a terminal
            print(f"{start}{stopped_line(arguments)}", file=sys.stderr)
            interrupts.report()
            code = 128 + interrupts.received()
    return code


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _fail(error: Exception) -> int:
    print(f"nasfpn: error: {one_line(error)}", file=sys.stderr)
    return 2


def _fail_output(error: OSError) -> int:
    if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has stopped reading
        return 0
    print(f"nasfpn: error: cannot write standard output: {error.strerror}", file=sys.stderr)
    return 2
