"""``nasfpn data``: generate, check, show, divide, convert and pack datasets."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from tools import data_convert, data_split
from tools.datasets import add_format, add_selection, load, reading, reload, report, report_notes
from tools.errors import UsageError
from tools.options import (
    add_option,
    add_out,
    add_overwrite,
    add_seed,
    help_settings,
    shown_path,
    whole,
)

HELP = "Generate, check, show, split, convert or pack a dataset"
DESCRIPTION = f"{HELP}.\n`nasfpn data COMMAND --help` lists the options of a command."
SYNTH_EXAMPLES = (
    "nasfpn data synth shapes",
    "nasfpn data synth shapes-256 --size 256 --seed 1",
    "nasfpn data synth few-shapes --train 16 --val 4 --test 4",
)
CHECK_EXAMPLES = (
    "nasfpn data check shapes",
    "nasfpn data check shapes --splits train val",
    "nasfpn data check shapes --format coco",
)
SHOW_EXAMPLES = (
    "nasfpn data show shapes -o sheet.png",
    "nasfpn data show shapes -o val.svg --split val",
    "nasfpn data show shapes -o many.pdf --count 48",
)
CREATE_EXAMPLES = (
    "nasfpn data create shapes -o shapes-record",
    "nasfpn data create shapes -o shapes-test --splits test --shards 1",
    "nasfpn data create shapes -o shapes-record --format coco",
)
EXAMPLES = (SYNTH_EXAMPLES[0], CHECK_EXAMPLES[0], SHOW_EXAMPLES[0], CREATE_EXAMPLES[0])
TRAINING_SPLITS = ("train", "val")  # the splits that training reads
FORMATS = ("coco", "voc", "yolo", "text")  # the formats that MindRecord is made from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the commands and their options."""
    commands = parser.add_subparsers(
        title="commands", dest="data_command", metavar="COMMAND", required=True
    )

    help = "Generate a dataset of circles, squares and triangles"
    synth = commands.add_parser("synth", help=help, **help_settings(f"{help}.", SYNTH_EXAMPLES))
    synth.add_argument("dir", type=Path, metavar="DIR", help="new COCO folder")
    for split, count in (("train", 160), ("val", 40), ("test", 40)):
        help = f"images of the {split} split"
        add_option(
            synth, f"--{split}", type=whole(1, 1_000_000), default=count, metavar="N", help=help
        )
    add_option(
        synth, "--size", type=whole(16, 4096), default=128, metavar="PX", help="side of an image"
    )
    add_seed(synth, of="the images")

    help = "Count images and boxes and list faults"
    text = f"{help}. The exit code is 1 if there are faults."
    check = commands.add_parser("check", help=help, **help_settings(text, CHECK_EXAMPLES))
    check.add_argument("dir", type=Path, metavar="DIR", help="dataset folder")
    add_selection(check, ("mindrecord", *FORMATS))

    help = "Draw a sheet of images with their boxes"
    show = commands.add_parser("show", help=help, **help_settings(f"{help}.", SHOW_EXAMPLES))
    show.add_argument("dir", type=Path, metavar="DIR", help="dataset folder")
    add_out(show, "FILE", "file to write: .png, .svg or .pdf", type=Path, required=True)
    add_overwrite(show)
    add_option(show, "--split", default="train", help="split to draw: train, val, test, ...")
    add_option(
        show, "--count", type=whole(1, 1000), default=12, metavar="N", help="images on the sheet"
    )
    add_format(show, ("mindrecord", *FORMATS))

    add_format(data_split.add_parser(commands), ("mindrecord", *FORMATS), of="DIR")

    convert = data_convert.add_parser(commands)
    add_selection(convert, ("mindrecord", *FORMATS), of="SRC")

    help = "Write a dataset as sharded MindRecord"
    text = f"{help}. Training on it gives the same losses as on SRC."
    create = commands.add_parser("create", help=help, **help_settings(text, CREATE_EXAMPLES))
    create.add_argument("src", type=Path, metavar="SRC", help="dataset folder to read")
    add_out(create, "DIR", "new folder to write", type=Path, required=True)
    add_selection(create, FORMATS, of="SRC")
    add_option(
        create, "--shards", type=whole(1, 1000), default=8, metavar="N", help="files of each split"
    )


def run(args: argparse.Namespace) -> int:
    """Run one of the commands."""
    code: int = _COMMANDS[args.data_command](args)
    return code


def _create(args: argparse.Namespace) -> int:
    from nasfpn_runtime.data.counts import count_table
    from nasfpn_runtime.data.mindrecord_writer import pack
    from nasfpn_runtime.progress import say

    say(f"data create: {args.src} as MindRecord to {args.out}")
    splits = load(args.src, args, lambda name: name in TRAINING_SPLITS)
    faults = pack(splits, args.out, shards=args.shards)
    print(count_table({name: reload(args.out, name) for name in splits}))
    report(faults)
    print(f"\nMindRecord  {shown_path(args.out)}")
    print(f"faults      {shown_path(args.out / 'faults.txt')}")
    return 0


def _convert(args: argparse.Namespace) -> int:
    from nasfpn_runtime.progress import say

    say(f"data convert: {args.src} as {args.form} to {args.out}")
    splits = load(args.src, args, lambda name: name in TRAINING_SPLITS)
    code = data_convert.run(args, splits)
    report_notes(splits)
    return code


def _check(args: argparse.Namespace) -> int:
    from nasfpn_runtime.data.counts import count_table
    from nasfpn_runtime.data.dataset import check_same_categories
    from nasfpn_runtime.data.mindrecord_writer import decoded
    from nasfpn_runtime.data.samples import Fault
    from nasfpn_runtime.errors import DataError
    from nasfpn_runtime.progress import say

    say(f"data check: {args.dir}")
    splits = load(args.dir, args, lambda name: False)
    # Loading a split reads the headers of images only; decoding finds the truncated ones.
    faults = {
        name: (
            *split.faults,
            *(
                replace(item, action="stops training")
                for item in decoded(split, name)
                if isinstance(item, Fault)
            ),
        )
        for name, split in splits.items()
    }
    empty = [name for name, split in splits.items() if not len(split.with_boxes)]
    for name in empty:
        if name in TRAINING_SPLITS:
            faults[name] += (
                Fault("no image has a box", str(splits[name].annotation_file), "stops training"),
            )
    missing = [name for name in TRAINING_SPLITS if name not in splits]
    if not missing:
        try:
            check_same_categories(*(splits[name] for name in TRAINING_SPLITS))
        except DataError as error:
            other = Fault("other categories than train", str(error), "stops training")
            faults["val"] += (other,)
    print(count_table(splits))
    report_notes(splits)
    for name in empty:
        if name not in TRAINING_SPLITS:
            print(
                f"\n{name} has no boxes: it cannot be scored; `nasfpn predict MODEL --data "
                f"{args.dir} --split {name} --json FILE` writes detections for it"
            )
    if not args.splits:
        needed = f"; training also needs {' and '.join(missing)}" if missing else ""
        needed += ": see nasfpn data split" if missing and len(splits) == 1 else ""
        print(f"\nsplits: {', '.join(splits)}{needed}")
    return 1 if report(faults) else 0


def _show(args: argparse.Namespace) -> int:
    from nasfpn_runtime.data.dataset import load_split
    from nasfpn_runtime.data.sheet import draw_sheet

    if args.out.suffix not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--out must end in .png, .svg or .pdf, got {args.out}")
    from nasfpn_runtime.outputs import Inputs, check_output, output_file
    from nasfpn_runtime.progress import say

    inputs = Inputs(folder=args.dir)
    check_output(args.out, overwrite=args.overwrite, inputs=inputs)
    say(f"data show: {args.dir}, split {args.split}")
    split = load_split(args.dir, args.split, args.format, reading(args))
    for sample in split.samples:  # the images of some formats may be outside the folder
        if isinstance(sample.path, Path):
            inputs.add(sample.path)
    with output_file(args.out, overwrite=args.overwrite, inputs=inputs) as draft:
        count = draw_sheet(split, draft, args.count)
    print(f"{count} images  {shown_path(args.out)}")
    return 0


def _synth(args: argparse.Namespace) -> int:
    from nasfpn_runtime.data.drawn import write_shapes
    from nasfpn_runtime.progress import say

    counts = {name: getattr(args, name) for name in ("train", "val", "test")}
    say(f"data synth: {sum(counts.values())} images of {args.size} px to {args.dir}")
    write_shapes(args.dir, **counts, size=args.size, seed=args.seed)
    print(f"COCO folder  {shown_path(args.dir)}")
    return 0


_COMMANDS = {
    "synth": _synth,
    "check": _check,
    "show": _show,
    "split": data_split.run,
    "convert": _convert,
    "create": _create,
}
