"""``nasfpn train``: train one genome on a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tools.genomes import load_named, path_name
from tools.options import (
    add_data,
    add_device,
    add_flag,
    add_option,
    add_out,
    add_overrides,
    add_recipe,
    add_seed,
    shown_path,
    whole,
)

if TYPE_CHECKING:
    from nasfpn_runtime.cluster.modelarts.jobs import StagedPaths
    from nasfpn_runtime.recipe.recipe import Recipe
    from search_space import Genome

HELP = "Train a genome on a dataset"
DESCRIPTION = """\
Train a genome on the train split of a dataset, score it on the val split, and
write checkpoints. Run the same command to resume a run that was stopped."""
EXAMPLES = (
    "nasfpn train --arch nasfpn --data shapes --recipe shapes",
    "nasfpn train --arch fpn --data shapes --recipe shapes --set training.epochs=10 -o runs/fpn",
    "nasfpn train --arch nasfpn --data coco --recipe tf-r50-7x256-640 --device Ascend --devices 8",
)
RECIPE = "bccd-256"
CACHE = Path("/cache/nasfpn")  # /cache is the large disk of ModelArts' servers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    help = "genome: a shipped name (see `nasfpn archs`) or a JSON file"
    parser.add_argument("--arch", required=True, metavar="GENOME", help=help)
    add_data(parser, "; obs://... on ModelArts", kind=str)
    add_recipe(parser, of="the training", default=RECIPE)
    add_overrides(parser)
    add_out(parser, "DIR", "run folder; obs://... on ModelArts", unset="runs/<arch>-<recipe>")
    add_seed(parser, of="initial weights and data order")
    add_device(parser)
    help = "start from the weights of a checkpoint written by `nasfpn train` or `nasfpn import`"
    add_option(parser, "--init", metavar="CKPT", unset="random weights", help=help)
    help = "with --init, for other categories: initialise the class predictions randomly"
    add_flag(parser, "--drop-head", help)
    help = "with --init, for another genome with the same levels: initialise the cells randomly"
    add_flag(parser, "--drop-cells", help)
    help = "keep the first N stages of the backbone fixed; short for --set training.freeze_stages=N"
    unset = "the recipe's"
    add_option(parser, "--freeze-stages", type=whole(0, 4), metavar="N", unset=unset, help=help)
    help = "folder for copies of obs:// data"
    add_option(parser, "--cache", type=Path, default=CACHE, metavar="DIR", help=help)
    help = "images are prepared by the main thread (0), another thread (1) or N processes (2+)"
    add_option(parser, "--workers", type=whole(0, 256), default=1, metavar="N", help=help)
    help = "write a line to train.log every STEPS steps"
    add_option(
        parser, "--log-every", type=whole(1, 1_000_000_000), default=20, metavar="STEPS", help=help
    )
    add_flag(parser, "--tensorboard", help="also write TensorBoard events")
    cards = parser.add_argument_group("several cards")
    help = "number of cards of this server"
    add_option(cards, "--devices", type=whole(1, 64), default=1, metavar="N", help=help)
    help, unset = "number of servers", "1, or what ModelArts says"
    add_option(cards, "--nnodes", type=whole(1, 10_000), metavar="N", unset=unset, help=help)
    help, unset = "index of this server, from 0", "0, or what ModelArts says"
    add_option(cards, "--node-rank", type=whole(0, 9_999), metavar="I", unset=unset, help=help)
    help, unset = "address of server 0; required for several servers", "what ModelArts says"
    add_option(cards, "--master", metavar="HOST[:PORT]", unset=unset, help=help)
    help = "Ascend's description of the cluster"
    add_option(cards, "--rank-table", type=Path, metavar="FILE", unset="none", help=help)


def run(args: argparse.Namespace) -> int:
    """Train, then print COCO's table and the paths of what was written."""
    from nasfpn_runtime.recipe.recipe import load_recipe

    for option, given in {"--drop-head": args.drop_head, "--drop-cells": args.drop_cells}.items():
        if given and not args.init:
            raise UsageError(f"{option} needs --init CKPT")
    overrides = list(args.overrides)
    if args.freeze_stages is not None:
        overrides.append(f"training.freeze_stages={args.freeze_stages}")
    recipe = load_recipe(args.recipe, overrides)
    name, genome = load_named(args.arch)
    out = args.out or f"runs/{path_name(name)}-{recipe.name}"
    _check_recipe_stays(Path(args.recipe), Path(out))

    from nasfpn_runtime.cluster.cards import is_distributed
    from nasfpn_runtime.cluster.launch import ClusterJob, launch
    from nasfpn_runtime.cluster.modelarts.jobs import staged
    from nasfpn_runtime.cluster.modelarts.nodes import this_node
    from nasfpn_runtime.cluster.modelarts.obs import is_address
    from nasfpn_runtime.progress import say

    # A resumed run needs no --init. A run folder on OBS is checked after it has been copied.
    new = not is_address(out) and not (Path(out) / "genome.json").exists()
    if args.freeze_stages and not args.init and new:
        raise UsageError("--freeze-stages needs --init CKPT")
    here = this_node()
    job = ClusterJob(
        args.devices,
        here.servers if args.nnodes is None else args.nnodes,
        here.server if args.node_rank is None else args.node_rank,
        args.master or here.master,
        args.rank_table,
    )
    first = not is_distributed()  # the process that launches the others transfers the run folder
    if first:
        cards = f", {job.cards} cards" if job.cards > 1 else ""
        say(
            f"train: genome {name}, dataset {args.data}, recipe {recipe.name}, device "
            f"{args.device}{cards}, run folder {out}"
        )

    from nasfpn_runtime.batches.loader import check_shares
    from nasfpn_runtime.recipe.memory import check_training
    from nasfpn_runtime.training.runfolder import alone_in

    writer = first and job.node_rank == 0 and here.rank in (None, 0)
    with staged(args.data, out, args.init, writer=writer, cache=args.cache) as local:
        if job.cards > 1 and first:
            check_shares(recipe.training, job.cards)
            check_training(recipe, genome, args.device, cards=job.cards, here=args.devices)
            if writer:  # report a busy folder now, not after all cards have started
                with alone_in(local.out):
                    pass
            launch(args.argv, job, local.out / "logs" / f"node{job.node_rank}")
            return 0
        return _train(args, recipe, genome, local)


def _check_recipe_stays(recipe: Path, out: Path) -> None:
    """Refuse to write the settings of a new run over the user's own file."""
    from nasfpn_runtime.outputs import Inputs, check_output

    settings = out / "config.yaml"
    if settings.exists() and not (out / "genome.json").exists():  # no run has written them
        check_output(settings, overwrite=True, inputs=Inputs(recipe))


def _train(args: argparse.Namespace, recipe: Recipe, genome: Genome, local: StagedPaths) -> int:
    from nasfpn_runtime.scoring.coco_eval import summary
    from nasfpn_runtime.training.finetune import Init
    from nasfpn_runtime.training.runlog import RunOptions
    from nasfpn_runtime.training.train import train

    result = train(
        recipe,
        genome,
        local.data,
        local.out,
        seed=args.seed,
        device=args.device,
        options=RunOptions(
            log_every=args.log_every, tensorboard=args.tensorboard, workers=args.workers
        ),
        init=Init(local.init, args.drop_head, args.drop_cells) if local.init else None,
    )
    print(summary(result.metrics))
    print(f"\nbest AP     {result.best_ap:.3f}")
    print(f"checkpoint  {shown_path(result.best)}")
    print(f"curves      {shown_path(local.out / 'figures' / 'curves.svg')}")
    return 0
