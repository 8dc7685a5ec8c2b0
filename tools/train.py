"""``nasfpn train``: train one genome on a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.errors import UserError
from tools.genomes import load_named
from tools.options import add_overrides

HELP = "train a genome on a data set; the same command again goes on"
RECIPE = "bccd-256"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("--arch", required=True, metavar="GENOME", help="shipped name or JSON file")
    add("--data", type=Path, required=True, metavar="DIR", help="data set")
    add("--recipe", default=RECIPE, help=f"name or YAML file (default: {RECIPE})")
    add("--out", type=Path, metavar="DIR", help="run folder (default: runs/<arch>-<recipe>)")
    add("--seed", type=int, default=0, help="of weights and data order (default: 0)")
    add("--device", default="CPU", help="CPU or Ascend (default: CPU)")
    add("--init", type=Path, metavar="CKPT", help="start from the weights of a checkpoint of ours")
    add("--drop-head", action="store_true", help="with --init: other classes, predict them anew")
    add("--freeze-stages", type=int, metavar="N", help="sets training.freeze_stages")
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Train, then print COCO's table and where everything is."""
    from nasfpn_runtime.config import load_recipe

    if args.drop_head and not args.init:
        raise UserError("--drop-head is about the weights of --init CKPT, which is not given")
    overrides = list(args.overrides)
    if args.freeze_stages is not None:
        overrides.append(f"training.freeze_stages={args.freeze_stages}")
    recipe = load_recipe(args.recipe, overrides)
    name, genome = load_named(args.arch)
    out = args.out or Path("runs") / f"{name}-{recipe.name}"

    from nasfpn_runtime.coco_eval import summary
    from nasfpn_runtime.finetune import Init
    from nasfpn_runtime.train import train

    init = Init(args.init, args.drop_head) if args.init else None
    result = train(recipe, genome, args.data, out, seed=args.seed, target=args.device, init=init)
    print(summary(result.metrics))
    print(f"\nbest AP     {result.best_ap:.3f}")
    print(f"checkpoint  {result.best}")
    print(f"curves      {out / 'metrics.jsonl'}")
    return 0
