"""What the commands of ``nasfpn data`` share: options, reading, and reports."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tools.options import add_flag, add_option

if TYPE_CHECKING:
    from nasfpn_runtime.data.dataset import Split
    from nasfpn_runtime.data.samples import Fault
    from nasfpn_runtime.recipe.settings import Reading


def add_format(
    parser: argparse.ArgumentParser, formats: tuple[str, ...], of: str = "the dataset"
) -> None:
    """Add the options that say how a dataset is read."""
    help = f"format of {of}"
    add_option(parser, "--format", choices=formats, unset="detected from the folder", help=help)
    help = "frame of the boxes of images with an EXIF orientation"
    add_option(parser, "--exif", choices=("auto", "stored", "upright"), default="auto", help=help)
    add_flag(parser, "--merge-names", help="read categories of one name as one category")


def add_selection(
    parser: argparse.ArgumentParser, formats: tuple[str, ...], of: str = "the dataset"
) -> None:
    """Add the options that say how a dataset is read, and which of its splits."""
    add_format(parser, formats, of)
    help = "splits to read: train, val, test, ..."
    add_option(parser, "--splits", nargs="+", metavar="SPLIT", unset="all", help=help)


def load(
    folder: Path, args: argparse.Namespace, needs_boxes: Callable[[str], bool]
) -> dict[str, Split]:
    """Read the splits that the options name, or all.

    Args:
        needs_boxes: returns whether a split without boxes is an error, by its name.
    """
    from nasfpn_runtime.data.dataset import contents, load_split, split_names

    names = args.splits or split_names(folder, args.format)
    if not names:
        raise UsageError(
            f"cannot find a split, such as train or val, in {folder} with {contents(folder)}"
        )
    return {
        name: load_split(folder, name, args.format, reading(args), needs_boxes=needs_boxes(name))
        for name in names
    }


def reading(args: argparse.Namespace) -> Reading:
    """Return how a dataset is read, as the options say."""
    from nasfpn_runtime.recipe.settings import Reading

    return Reading(args.exif, args.merge_names)


def reload(folder: Path, name: str) -> Split:
    """Read a split of a folder that a command has written."""
    from nasfpn_runtime.data.dataset import load_split

    return load_split(folder, name, needs_boxes=False)


def report_notes(splits: dict[str, Split]) -> None:
    """Print what was read in another way than it is written."""
    from nasfpn_runtime.data.dataset import fault_report

    for name, split in splits.items():
        if split.notes:
            print(f"\nread from {name}:\n{fault_report(split.notes)}")


def report(faults: dict[str, tuple[Fault, ...]]) -> bool:
    """Print the faults of each split; return whether there are any."""
    from nasfpn_runtime.data.dataset import fault_report

    for name, listed in faults.items():
        if listed:
            print(f"\nfaults in {name}:\n{fault_report(listed)}")
    if not any(faults.values()):
        print("\nno faults")
    return any(faults.values())
