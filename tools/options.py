"""Options that several commands have."""

from __future__ import annotations

import argparse

ENGINES = ("mindspore", "mindspore_lite", "onnxruntime", "openvino")


def seed(text: str) -> int:
    """Return the seed that an option's word is; a ``type`` of argparse.

    Raises:
        ValueError: it is no whole number.
        argparse.ArgumentTypeError: it is below 0.
    """
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"a seed is 0 or more, got {value}")
    return value


def add_overrides(parser: argparse.ArgumentParser, example: str = "training.epochs=10") -> None:
    """Add ``--set A.B=C``, as often as wanted, into ``overrides``."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="A.B=C",
        help=f"override a setting of the recipe, such as {example}",
    )
