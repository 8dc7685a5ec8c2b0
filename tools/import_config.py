"""``nasfpn import-config``: settings of the model zoo become a recipe."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.errors import UsageError

HELP = "turn a default_config.yaml of the model zoo into a recipe"
DISTRIBUTED = 8  # devices of scripts/run_distribute_train.sh's example


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("src", type=Path, metavar="SRC", help="a file like research/cv/nas-fpn/default_config.yaml")
    add("-o", "--out", type=Path, required=True, metavar="RECIPE", help=".yaml file to write")
    add(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what was on the command line of train.py, such as lr=0.05",
    )
    add(
        "--devices",
        type=int,
        metavar="N",
        help=f"that batch_size was on each of (default: {DISTRIBUTED}, 1 for distribute=False)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the recipe; print what became of each key and how to train."""
    import yaml

    from nasfpn_runtime.importers.zoo_config import import_values, read_values

    if args.out.suffix not in (".yaml", ".yml"):
        raise UsageError(f"a recipe is a .yaml file, got {args.out}")
    values = read_values(args.src, args.overrides)
    devices = args.devices
    if devices is None:
        devices = DISTRIBUTED if values["distribute"] else 1
    content = import_values(values, devices, str(args.src), args.overrides).to_dict()
    del content["name"]  # that of the file
    content["description"] = f"From the model zoo's {args.src.name}, on {devices} devices."
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(yaml.safe_dump(content, sort_keys=False))
    for line in _report(values, content):
        print(line)
    print(f"\nrecipe  {args.out}")
    print(f"train   nasfpn train --arch nasfpn --data DIR --recipe {args.out} --devices {devices}")
    return 0


def _report(values: dict[str, Any], content: dict[str, Any]) -> Iterator[str]:
    """Yield lines that say of each key what it is here."""
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
        ("follow from these", zoo_keys.FIXED, lambda _, text: text),
        ("options of commands", zoo_keys.MOVED, other),
        ("no meaning here", zoo_keys.NOTHING, other),
    ):
        yield f"\n{title}: {len(table)} keys"
        yield from (f"  {key:28} {show(key, text)}" for key, (_, text) in table.items())
