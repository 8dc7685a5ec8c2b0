"""The ``nasfpn`` command: one module of this package per subcommand.

Each module has ``HELP`` (one line), ``DESCRIPTION``, ``EXAMPLES``, ``add_arguments(parser)`` and
``run(args)``. Importing them is fast: they import what they need when they run.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

from nasfpn_runtime.interrupts import remembered
from tools import (
    archs,
    bench,
    compare,
    data,
    draw,
    evaluate,
    export,
    import_checkpoint,
    import_config,
    predict,
    quickstart,
    recipes,
    search,
    train,
)
from tools.errors import one_line, user_errors
from tools.options import help_settings

# What a user wants to do -> the commands for it, in the order of the help.
GROUPS = {
    "start": {"quickstart": quickstart},
    "data": {"data": data},
    "train": {"recipes": recipes, "train": train, "eval": evaluate},
    "search": {"search": search, "compare": compare},
    "look at cell graphs": {"archs": archs, "draw": draw},
    "deploy": {"export": export, "predict": predict},
    "import": {"import": import_checkpoint, "import-config": import_config},
    "measure": {"bench": bench},
}
COMMANDS = {name: module for group in GROUPS.values() for name, module in group.items()}
RESUMABLE = ("quickstart", "train", "search", "compare")
DESCRIPTION = "Search, train, score, draw and deploy feature pyramids for object detection."
EXAMPLES = (
    "nasfpn quickstart",
    "nasfpn data synth shapes",
    "nasfpn train --arch nasfpn --data shapes --recipe shapes",
)


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
    parser = argparse.ArgumentParser(
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
    one line. 130: interrupted.
    """
    os.environ.setdefault("GLOG_v", "3")  # of MindSpore's log, print errors only
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = make_parser().parse_args(arguments, argparse.Namespace(argv=arguments))
    try:
        with remembered():
            code: int = COMMANDS[args.command].run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        resume = ""
        if args.command in RESUMABLE:
            resume = f" To resume, run the same command: {shlex.join(['nasfpn', *arguments])}"
        print(f"\nStopped.{resume}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has stopped reading
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not isinstance(error, user_errors()):
            raise
        print(f"nasfpn: error: {one_line(error)}", file=sys.stderr)
        return 2
