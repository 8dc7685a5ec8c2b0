"""``nasfpn data``: make, check and look at data sets."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tools.options import seed

if TYPE_CHECKING:
    from nasfpn_runtime.data.dataset import Split
    from nasfpn_runtime.data.samples import Fault

HELP = "check a data set, look at it, draw one, or pack it for training"
TRAINED = ("train", "val")  # splits that a training reads
FORMS = ("coco", "voc", "yolo", "text")  # those that MindRecord is made from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the commands and their options."""
    commands = parser.add_subparsers(dest="data_command", metavar="COMMAND", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text[0].upper() + text[1:])

    create = command("create", "write a data set as sharded MindRecord")
    create.add_argument("src", type=Path, metavar="SRC", help="the data set's folder")
    create.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="new folder")
    _add_selection(create, FORMS)
    create.add_argument("--shards", type=int, default=8, help="files of a split (default: 8)")

    check = command("check", "count pictures and boxes, list faults; exit code 1 if there are some")
    check.add_argument("dir", type=Path, metavar="DIR", help="the data set's folder")
    _add_selection(check, ("mindrecord", *FORMS))

    show = command("show", "draw a sheet of pictures with their boxes")
    show.add_argument("dir", type=Path, metavar="DIR", help="the data set's folder")
    show.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help=".png, .svg")
    show.add_argument("--split", default="train", help="train, val, ... (default: train)")
    show.add_argument("--count", type=int, default=12, help="pictures (default: 12)")
    _add_format(show, ("mindrecord", *FORMS))

    synth = command("synth", "draw a data set of circles, squares and triangles")
    synth.add_argument("dir", type=Path, metavar="DIR", help="new COCO folder")
    for split, count in (("train", 160), ("val", 40), ("test", 40)):
        synth.add_argument(
            f"--{split}", type=int, default=count, help=f"pictures (default: {count})"
        )
    synth.add_argument("--size", type=int, default=128, help="px of a side (default: 128)")
    synth.add_argument("--seed", type=seed, default=0, help="(default: 0)")


def run(args: argparse.Namespace) -> int:
    """Run one of the commands."""
    code: int = _COMMANDS[args.data_command](args)
    return code


def _create(args: argparse.Namespace) -> int:
    from nasfpn_runtime.data.counts import count_table
    from nasfpn_runtime.data.mindrecord_writer import pack

    splits = _load(args.src, args)
    faults = pack(splits, args.out, shards=args.shards)
    print(count_table({name: _reload(args.out, name) for name in splits}))
    _report(faults)
    print(f"\nMindRecord  {args.out}")
    print(f"faults      {args.out / 'faults.txt'}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from nasfpn_runtime.data.counts import count_table
    from nasfpn_runtime.data.dataset import check_same_categories
    from nasfpn_runtime.data.mindrecord_writer import decoded
    from nasfpn_runtime.data.samples import Fault
    from nasfpn_runtime.errors import DataError

    splits = _load(args.dir, args)
    # Reading a folder looks at the headers; a picture that ends early shows here.
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
    needed = [name for name in TRAINED if name not in splits]
    if not needed:
        try:
            check_same_categories(*(splits[name] for name in TRAINED))
        except DataError as error:
            other = Fault("other categories than train", str(error), "stops training")
            faults["val"] += (other,)
    print(count_table(splits))
    if not args.splits:
        missing = f"; training needs {' and '.join(needed)} too" if needed else ""
        print(f"\nsplits: {', '.join(splits)}{missing}")
    return 1 if _report(faults) else 0


def _show(args: argparse.Namespace) -> int:
    from nasfpn_runtime.data.dataset import load_split
    from nasfpn_runtime.data.sheet import draw_sheet

    if args.out.suffix not in (".png", ".svg", ".pdf"):
        raise UsageError(f"a sheet is a .png, .svg or .pdf, got {args.out}")
    count = draw_sheet(load_split(args.dir, args.split, args.format), args.out, args.count)
    print(f"{count} pictures  {args.out}")
    return 0


def _synth(args: argparse.Namespace) -> int:
    from nasfpn_runtime.data.drawn import write_shapes

    for name in ("train", "val", "test", "size"):
        least = 16 if name == "size" else 1
        if getattr(args, name) < least:
            raise UsageError(f"--{name} is at least {least}, got {getattr(args, name)}")
    counts = {name: getattr(args, name) for name in ("train", "val", "test")}
    write_shapes(args.dir, **counts, size=args.size, seed=args.seed)
    print(f"COCO folder  {args.dir}")
    return 0


_COMMANDS = {"create": _create, "check": _check, "show": _show, "synth": _synth}


def _add_format(parser: argparse.ArgumentParser, forms: tuple[str, ...]) -> None:
    parser.add_argument("--format", choices=forms, help="(default: what the folder looks like)")


def _add_selection(parser: argparse.ArgumentParser, forms: tuple[str, ...]) -> None:
    _add_format(parser, forms)
    parser.add_argument(
        "--splits", nargs="+", metavar="SPLIT", help="train, val, ... (default: all there are)"
    )


def _load(folder: Path, args: argparse.Namespace) -> dict[str, Split]:
    from nasfpn_runtime.data.dataset import load_split, split_names

    names = args.splits or split_names(folder, args.format)
    if not names:
        raise UsageError(f"a data set has a split, got none in {folder}")
    return {name: load_split(folder, name, args.format) for name in names}


def _reload(folder: Path, name: str) -> Split:
    from nasfpn_runtime.data.dataset import load_split

    return load_split(folder, name)


def _report(faults: dict[str, tuple[Fault, ...]]) -> bool:
    """Print the faults of each split; return whether there are any."""
    from nasfpn_runtime.data.dataset import fault_report

    for name, found in faults.items():
        if found:
            print(f"\nfaults in {name}:\n{fault_report(found)}")
    if not any(faults.values()):
        print("\nno faults")
    return any(faults.values())
