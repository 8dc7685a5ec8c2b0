"""``nasfpn data split``: divide a dataset into train, val and test without copying it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tools.errors import UsageError
from tools.options import add_option, add_out, add_seed, help_settings, real

HELP = "Divide a dataset into train, val and test"
DESCRIPTION = f"""{HELP}.
DIR is not changed and its images are not copied: the new folder only lists them, and every command
takes it as --data. Images are divided at random, such that each split has about the same share of
every class."""
EXAMPLES = (
    "nasfpn data split photos -o photos-split",
    "nasfpn data split photos -o photos-split --val 0.15 --test 0.15 --seed 1",
    "nasfpn data split shapes -o shapes-split --from train",
)


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command and its options; return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "split", help=HELP, **help_settings(DESCRIPTION, EXAMPLES)
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="dataset folder")
    add_out(parser, "OUT", "new folder to write", type=Path, required=True)
    help = "share of the images in val"
    add_option(parser, "--val", type=real(0, 1, above=True), default=0.2, metavar="X", help=help)
    help = "share of the images in test; 0 for no split test"
    add_option(parser, "--test", type=real(0, 1), default=0.0, metavar="X", help=help)
    help = "split of DIR to divide"
    add_option(parser, "--from", dest="source", metavar="SPLIT", unset="the only one", help=help)
    add_seed(parser, of="the division")
    return parser


def run(args: argparse.Namespace) -> int:
    """Divide the dataset and print how many images and boxes each split got."""
    if args.val + args.test >= 1:
        raise UsageError(
            f"--val and --test must have a sum below 1, got {args.val:g} and {args.test:g}; "
            "the other images are train's"
        )
    from nasfpn_runtime.data.counts import count_table
    from nasfpn_runtime.data.dataset import fault_report, load_split, split_names
    from nasfpn_runtime.data.divided import FILE
    from nasfpn_runtime.data.divided_writer import divide
    from nasfpn_runtime.progress import say
    from nasfpn_runtime.recipe.settings import Reading

    say(f"data split: {args.dir} to {args.out}")
    divide(
        args.dir,
        args.out,
        val=args.val,
        test=args.test,
        seed=args.seed,
        split=args.source,
        form=args.format,
        reading=Reading(args.exif, args.merge_names),
    )
    splits = {name: load_split(args.out, name) for name in split_names(args.out)}
    print(count_table(splits))
    for name, split in splits.items():
        if split.without_boxes:
            print(f"\nno box in {name} has the class {', '.join(split.without_boxes)}")
    faults = splits["train"].faults  # they are of the whole dataset
    if faults:
        print(f"\nfaults in {args.dir}:\n{fault_report(faults)}")
    print(f"\nsplits  {args.out / FILE}")
    return 0
