"""Options that several commands have."""

from __future__ import annotations

import argparse

ENGINES = ("mindspore", "mindspore_lite", "onnxruntime", "openvino")


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
