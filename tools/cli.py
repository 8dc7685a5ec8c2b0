"""The ``nasfpn`` command: one module of this package per subcommand."""

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
    search,
    train,
)
from tools.errors import user_errors

COMMANDS = {
    "quickstart": quickstart,
    "archs": archs,
    "draw": draw,
    "train": train,
    "import": import_checkpoint,
    "import-config": import_config,
    "eval": evaluate,
    "export": export,
    "predict": predict,
    "data": data,
    "search": search,
    "compare": compare,
    "bench": bench,
}
GO_ON = ("quickstart", "train", "search", "compare")  # where they stopped


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code.

    0: done. 2: a mistake of the user's, told in one line. 130: interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="nasfpn", description="Search, train, score and draw detection pyramids."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        module.add_arguments(
            commands.add_parser(name, help=module.HELP, description=module.HELP.capitalize())
        )
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(arguments, argparse.Namespace(argv=arguments))
    try:
        with remembered():
            code: int = COMMANDS[args.command].run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        again = shlex.join(["nasfpn", *arguments])
        goes_on = f" The same command goes on from here: {again}"
        print(f"\nStopped.{goes_on if args.command in GO_ON else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not isinstance(error, user_errors()):
            raise
        print(f"nasfpn: error: {error}", file=sys.stderr)
        return 2
