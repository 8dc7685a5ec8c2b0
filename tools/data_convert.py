"""``nasfpn data convert``: write a dataset as a COCO, VOC or YOLO folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.options import add_flag, add_option, add_out, help_settings

if TYPE_CHECKING:
    from nasfpn_runtime.data.dataset import Split

HELP = "Write a dataset in another format"
DESCRIPTION = f"""{HELP}, with copies of its images.
SRC may have any format that can be read. The command says what the new format cannot hold."""
EXAMPLES = (
    "nasfpn data convert shapes -o shapes-yolo --form yolo",
    "nasfpn data convert shapes -o shapes-voc --form voc --splits train val",
    "nasfpn data convert shapes-record -o shapes-coco --form coco",
)
FORMS = ("coco", "voc", "yolo")
_SHOWN = 3  # renamed images that are named


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command and its options; return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "convert", help=HELP, **help_settings(DESCRIPTION, EXAMPLES)
    )
    parser.add_argument("src", type=Path, metavar="SRC", help="dataset folder to read")
    add_out(parser, "DIR", "new folder to write", type=Path, required=True)
    add_option(parser, "--form", choices=FORMS, required=True, help="format to write")
    add_flag(parser, "--link", "make symbolic links to the image files instead of copies")
    return parser


def run(args: argparse.Namespace, splits: dict[str, Split]) -> int:
    """Write the splits in the other format, and print what became different."""
    from nasfpn_runtime.data.convert import convert
    from nasfpn_runtime.data.counts import count_table
    from nasfpn_runtime.data.dataset import fault_report, load_split
    from search_space.names import printable

    changes = convert(splits, args.out, args.form, link=args.link)
    made = {name: load_split(args.out, name, args.form, needs_boxes=False) for name in splits}
    print(count_table(made) + "\n")
    for name, split in splits.items():
        if split.faults:
            print(f"faults in {name} of {args.src}:\n{fault_report(split.faults)}\n")
    if changes.counts:
        lost = ", ".join(f"{count:,} {what}" for what, count in changes.counts.items())
        print(f"not kept, since {args.form} has no place for them: {lost}")
    if changes.names:
        shown = [f"{old} is {new}" for old, new in changes.names[:_SHOWN]]
        shown += ["..."] if len(changes.names) > _SHOWN else []
        print(printable(f"{len(changes.names):,} images renamed: {', '.join(shown)}"))
    print(f"corners of boxes differ by at most {changes.corner:.2g} px")
    print(f"\n{args.form}  {args.out}")
    return 0
