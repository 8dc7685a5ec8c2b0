"""``nasfpn import-config``: convert settings of the model zoo into a recipe."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.errors import UsageError
from tools.options import add_option, add_out, add_overwrite, shown_path, whole

HELP = "Convert a default_config.yaml of the model zoo into a recipe"
DESCRIPTION = """Convert a default_config.yaml of the MindSpore model zoo (research/cv/nas-fpn)
into a recipe. Prints what each key becomes and the command that trains by it."""
EXAMPLES = (
    "nasfpn import-config default_config.yaml -o mine.yaml",
    "nasfpn import-config default_config.yaml --set lr=0.05 --set epoch_size=100 -o mine.yaml",
    "nasfpn import-config default_config.yaml --devices 1 -o one-device.yaml",
)
DISTRIBUTED = 8  # devices of scripts/run_distribute_train.sh's example


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    help = "settings, such as research/cv/nas-fpn/default_config.yaml"
    parser.add_argument("src", type=Path, metavar="SRC", help=help)
    add_out(parser, "RECIPE", ".yaml file to write", type=Path, required=True)
    add_overwrite(parser)
    add_option(
        parser,
        "--set",
        dest="overrides",
        action="append",
        default=[],
        unset="none",
        metavar="KEY=VALUE",
        help="change a key of SRC, as on the command line of train.py, such as lr=0.05; may be "
        "repeated",
    )
    add_option(
        parser,
        "--devices",
        type=whole(1, 100_000),
        metavar="N",
        unset=f"{DISTRIBUTED}, or 1 if SRC has distribute: False",
        help="number of devices; batch_size is the batch of each",
    )


def run(args: argparse.Namespace) -> int:
    """Write the recipe; print what each key becomes and how to train."""
    import yaml

    from nasfpn_runtime.importers.zoo_config import import_values, read_values
    from nasfpn_runtime.outputs import Inputs, output_file

    if args.out.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--out must end in .yaml or .yml, got {args.out}")
    values = read_values(args.src, args.overrides)
    devices = args.devices
    if devices is None:
        devices = DISTRIBUTED if values["distribute"] else 1
    content = import_values(values, devices, str(args.src), args.overrides).to_dict()
    del content["name"]  # a recipe is named after its file
    content["description"] = f"From the model zoo's {args.src.name}, on {devices} devices."
    with output_file(args.out, overwrite=args.overwrite, inputs=Inputs(args.src)) as draft:
        draft.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    for line in _report(values, content):
        print(line)
    recipe = shown_path(args.out)
    print(f"\nrecipe  {recipe}")
    print(f"train   nasfpn train --arch nasfpn --data DIR --recipe {recipe} --devices {devices}")
    return 0


def _report(values: dict[str, Any], content: dict[str, Any]) -> Iterator[str]:
    """Yield lines with what each key becomes."""
    from nasfpn_runtime.importers import zoo_keys

    def setting(key: str, text: str) -> str:
        section, name = text.split(", ")[0].split(".")
        value = content[section][name]
        return text if isinstance(value, list) and name == "warmup" else f"{text} = {value}"

    def other(key: str, text: str) -> str:
        usual = values[key] == {**zoo_keys.MOVED, **zoo_keys.NOTHING}[key][0]
        return text if usual else f"{text}, was {values[key]!r}"

    for title, table, show in (
        ("settings of the recipe", {**zoo_keys.COPIED, **zoo_keys.DERIVED}, setting),
        ("follow from the settings", zoo_keys.FIXED, lambda _, text: text),
        ("options of commands", zoo_keys.MOVED, other),
        ("not used here", zoo_keys.NOTHING, other),
    ):
        yield f"\n{title}: {len(table)} keys"
        yield from (f"  {key:28} {show(key, text)}" for key, (_, text) in table.items())
