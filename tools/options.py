"""Options that several commands share, and the form of every help text."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tools.errors import UsageError

SHORT = 40  # characters of a value that a message shows as it was typed
DEVICES = ("CPU", "Ascend")
ENGINES = ("mindspore", "mindspore_lite", "onnxruntime", "openvino")


class Options(Protocol):
    """What options are added to: a parser or one of its groups."""

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """Add an argument, as :class:`argparse.ArgumentParser` does."""
        ...


def help_settings(description: str, examples: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a parser whose help ends with examples.

    Args:
        description: printed as it is, so with line breaks.
        examples: command lines that can be copied.
    """
    return {
        "description": description,
        "epilog": "examples:\n" + "\n".join(f"  {line}" for line in examples),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def add_option(
    options: Options,
    *names: str,
    help: str,
    default: Any = None,
    unset: str = "",
    **settings: Any,
) -> None:
    """Add an option whose help ends with its default.

    Args:
        names: such as ``--score``; a positional argument has none to show a default for.
        default: shown in the help unless ``unset`` is given.
        unset: what the command does without the option, such as ``all stacks``. Needed if there
            is no default that can be shown.

    Raises:
        ValueError: the option may be left out, takes a value, and neither says what then holds.
    """
    if unset:
        help += f" (default: {unset})"
    elif isinstance(default, list) and default:
        help += f" (default: {' '.join(map(str, default))})"
    elif default not in (None, []):
        help += " (default: %(default)s)"
    elif not settings.get("required") and settings.get("action") != "store_true":
        raise ValueError(f"{names} must have a default or unset")
    options.add_argument(*names, help=help, default=default, **settings)


def add_flag(options: Options, name: str, help: str) -> None:
    """Add an option without a value, off by default."""
    options.add_argument(name, action="store_true", help=help)


def add_data(options: Options, more: str = "", kind: type[Path] | type[str] = Path) -> None:
    """Add ``--data``, the folder of a dataset, or with ``kind=str`` also an address."""
    help = f"dataset folder: COCO, VOC, YOLO, text, MindRecord, or made by data split{more}"
    add_option(options, "--data", type=kind, required=True, metavar="DIR", help=help)


def add_recipe(
    options: Options,
    name: str = "--recipe",
    *,
    of: str,
    default: str | None = None,
    unset: str = "",
) -> None:
    """Add ``--recipe``, required unless it has a default; ``of`` says what it is used for."""
    help = f"recipe of {of}: a name (see `nasfpn recipes`) or a YAML file"
    required = default is None and not unset
    add_option(
        options, name, help=help, default=default, unset=unset, required=required, metavar="RECIPE"
    )


def add_overrides(
    options: Options,
    example: str = "training.epochs=10",
    *,
    name: str = "--set",
    dest: str = "overrides",
    of: str = "the recipe",
) -> None:
    """Add ``--set A.B=C``, which may be repeated, into ``overrides``; ``of`` names the recipe."""
    add_option(
        options,
        name,
        dest=dest,
        action="append",
        default=[],
        unset="none",
        metavar="A.B=C",
        help=f"change a setting of {of}, such as {example}; may be repeated",
    )


def add_seed(options: Options, of: str) -> None:
    """Add ``--seed``; ``of`` says which random numbers follow from it."""
    add_option(options, "--seed", type=SEED, default=0, metavar="N", help=f"random seed of {of}")


def add_device(options: Options, more: str = "") -> None:
    """Add ``--device``."""
    help = f"device that MindSpore runs on{more}"
    add_option(options, "--device", choices=DEVICES, default="CPU", help=help)


def add_engine(options: Options) -> None:
    """Add ``--engine``."""
    help = "what runs the file"
    unset = "onnxruntime for .onnx, mindspore for others"
    add_option(options, "--engine", choices=ENGINES, unset=unset, help=help)


def add_stacks(options: Options) -> None:
    """Add ``--stacks``."""
    help = "cut the pyramid after N stacks"
    add_option(options, "--stacks", type=whole(1, 100), metavar="N", unset="all stacks", help=help)


def add_workers(options: Options) -> None:
    """Add ``--workers``, the number of trainings at a time."""
    help = "number of trainings at a time, each on cores of its own"
    kind = whole(1, len(os.sched_getaffinity(0)))
    add_option(options, "--workers", type=kind, default=1, metavar="N", help=help)


def check_workers(workers: int, device: str) -> None:
    """Check that a device takes so many trainings at a time: a card takes one.

    Raises:
        UsageError: it does not.
    """
    if workers > 1 and device != "CPU":
        raise UsageError(f"--workers must be 1 with --device {device}, got {workers}")


def add_space(options: Options) -> None:
    """Add ``--space``, the kind of search space, and the options for its size."""
    help = "paper: two intermediate cells, sum and attention; wide: all shipped genomes are members"
    add_option(options, "--space", choices=("paper", "wide"), default="paper", help=help)
    help = "finest and coarsest level of the pyramids"
    add_option(options, "--levels", type=levels, default="3-7", metavar="A-B", help=help)
    help = "number of intermediate cells of a genome; with --space wide their greatest number"
    kind = whole(0, 50)
    unset = "2, with --space wide 4"
    add_option(options, "--intermediate-cells", type=kind, metavar="N", unset=unset, help=help)


def levels(text: str) -> range:
    """Return the levels in a text such as ``3-6``; a ``type`` of argparse.

    Raises:
        argparse.ArgumentTypeError: the text is not such a range, or a level is out of range.
    """
    from search_space.errors import value_text
    from search_space.rules import MAX_LEVEL, MIN_LEVEL

    bounds = re.fullmatch(r"([0-9]{1,2})-([0-9]{1,2})", text)
    given = range(int(bounds[1]), int(bounds[2]) + 1) if bounds else range(0)
    if len(given) < 2 or given[0] < MIN_LEVEL or given[-1] > MAX_LEVEL:
        raise argparse.ArgumentTypeError(
            f"must be FINEST-COARSEST with FINEST below COARSEST, levels from {MIN_LEVEL} to "
            f"{MAX_LEVEL}, such as 3-6, got {value_text(text)}"
        )
    return given


def add_out(options: Options, metavar: str, help: str, **settings: Any) -> None:
    """Add ``-o``/``--out``: the file or folder that the command writes."""
    kind = OutputType(settings.pop("type", str))
    add_option(options, "-o", "--out", metavar=metavar, help=help, type=kind, **settings)


@dataclass(frozen=True)
class OutputType:
    """A ``type`` of argparse: that of the path, but not for an empty text.

    An unset variable of a shell is one, and would be the current folder.
    """

    kind: Callable[[str], Any]

    def __call__(self, text: str) -> Any:
        """Return the value of a text."""
        if not text:
            raise argparse.ArgumentTypeError("must be a path, got ''; the current folder is .")
        return self.kind(text)


def add_overwrite(options: Options) -> None:
    """Add ``--overwrite``, for commands that write a file or pictures."""
    add_flag(options, "--overwrite", "replace existing files, but never an input of the command")


def shown_path(path: Path) -> str:
    """Return a path as it is printed at the end of a command: an escape code is shown as text."""
    from search_space.names import printable

    return printable(str(path))


class DeprecatedName(argparse.Action):
    """The old name of an option: it works, warns and is not in the help.

    Args:
        instead: the present name, for the warning.
    """

    def __init__(
        self, option_strings: Sequence[str], dest: str, *, instead: str, type: Any = None
    ) -> None:
        super().__init__(option_strings, dest, type=type, help=argparse.SUPPRESS)
        self.instead = instead

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Store the value, like ``store``, and warn."""
        setattr(namespace, self.dest, values)
        print(
            f"nasfpn: warning: {option_string} is now {self.instead}; the old name will be removed "
            "in version 0.3",
            file=sys.stderr,
        )


class Range:
    """The ``type`` of an option with a number: its kind and its bounds.

    Every option with a number has one (``tests/tools/test_ranges.py``).

    Attributes:
        kind: ``int`` or ``float``.
        least, most: the bounds, both included.
        above: ``least`` itself is excluded.
    """

    def __init__(self, kind: type, least: float, most: float, *, above: bool = False) -> None:
        self.kind, self.least, self.most, self.above = kind, least, most, above

    def __call__(self, text: str) -> Any:
        """Return the number in a text.

        Raises:
            argparse.ArgumentTypeError: it is not such a number, or outside the bounds.
        """
        try:
            value = self.kind(text)
        except ValueError:  # also for thousands of digits
            value = math.nan
        if not self.least <= value <= self.most or (self.above and value == self.least):
            from search_space.errors import value_text

            given = text if text.isprintable() and len(text) <= SHORT else value_text(text)
            raise argparse.ArgumentTypeError(f"must be {self}, got {given}")
        return value

    def __str__(self) -> str:
        """Return the rule, such as ``an integer from 1 to 1,000``."""
        kind = "an integer" if self.kind is int else "a number"
        least = f"above {self.least:,}, at most" if self.above else f"from {self.least:,} to"
        return f"{kind} {least} {self.most:,}"


def whole(least: int, most: int) -> Range:
    """Return the type of an option with an integer from ``least`` to ``most``."""
    return Range(int, least, most)


def real(least: float, most: float, *, above: bool = False) -> Range:
    """Return the type of an option with a number; ``above`` excludes ``least``."""
    return Range(float, least, most, above=above)


SEED = whole(0, (1 << 64) - 1)  # of 64 bits, as times and hashes are
TRIALS = whole(1, 1_000_000)
