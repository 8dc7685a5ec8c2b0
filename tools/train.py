"""``nasfpn train``: train one genome on a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tools.genomes import load_named
from tools.options import add_overrides, seed

if TYPE_CHECKING:
    from nasfpn_runtime.cluster.modelarts.jobs import Local
    from nasfpn_runtime.recipe.recipe import Recipe
    from search_space import Genome

HELP = "train a genome on a data set; the same command again goes on"
RECIPE = "bccd-256"
CACHE = Path("/cache/nasfpn")  # /cache is the large disk of ModelArts' servers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("--arch", required=True, metavar="GENOME", help="shipped name or JSON file")
    add("--data", required=True, metavar="DIR", help="data set; obs://... on ModelArts")
    add("--recipe", default=RECIPE, help=f"name or YAML file (default: {RECIPE})")
    add("--out", metavar="DIR", help="run folder, or obs://... (default: runs/<arch>-<recipe>)")
    add("--seed", type=seed, default=0, help="of weights and data order (default: 0)")
    add("--device", default="CPU", help="CPU or Ascend (default: CPU)")
    add("--init", metavar="CKPT", help="start from the weights of a checkpoint of ours")
    add("--drop-head", action="store_true", help="with --init: other classes, predict them anew")
    add("--freeze-stages", type=int, metavar="N", help="sets training.freeze_stages")
    add("--cache", type=Path, default=CACHE, metavar="DIR", help=f"copies of obs:// ({CACHE})")
    add_overrides(parser)
    add("--workers", type=int, default=1, metavar="N", help="1: a thread reads; 2+: processes (1)")
    add("--log-every", type=int, default=20, metavar="STEPS", help="lines of train.log (20)")
    add("--tensorboard", action="store_true", help="write events, too")
    cards = parser.add_argument_group("several cards")
    add = cards.add_argument
    add("--devices", type=int, default=1, metavar="N", help="cards of this server (default: 1)")
    add("--nnodes", type=int, metavar="N", help="servers (default: ModelArts', or 1)")
    add("--node-rank", type=int, metavar="I", help="which of them this is, from 0 (likewise)")
    add("--master", metavar="HOST[:PORT]", help="server 0")
    add("--rank-table", type=Path, metavar="FILE", help="Ascend's, where the cluster has one")


def run(args: argparse.Namespace) -> int:
    """Train, then print COCO's table and where everything is."""
    from nasfpn_runtime.recipe.recipe import load_recipe

    if args.drop_head and not args.init:
        raise UsageError("--drop-head is about the weights of --init CKPT, which is not given")
    if args.log_every < 1 or args.workers < 0:
        raise UsageError(
            f"--log-every is 1 or more and --workers 0 or more, got {args.log_every} and "
            f"{args.workers}"
        )
    overrides = list(args.overrides)
    if args.freeze_stages is not None:
        overrides.append(f"training.freeze_stages={args.freeze_stages}")
    recipe = load_recipe(args.recipe, overrides)
    name, genome = load_named(args.arch)
    out = args.out or f"runs/{name}-{recipe.name}"

    from nasfpn_runtime.batches.inputs import check_shares
    from nasfpn_runtime.cluster.cards import several
    from nasfpn_runtime.cluster.launch import ClusterJob, launch
    from nasfpn_runtime.cluster.modelarts.jobs import job as modelarts_job
    from nasfpn_runtime.cluster.modelarts.nodes import this_node
    from nasfpn_runtime.training.runfolder import alone_in

    here = this_node()
    job = ClusterJob(
        args.devices,
        here.servers if args.nnodes is None else args.nnodes,
        here.server if args.node_rank is None else args.node_rank,
        args.master or here.master,
        args.rank_table,
    )
    first = not several()  # what launches the others brings the run folder back
    writer = first and job.node_rank == 0 and here.rank in (None, 0)
    with modelarts_job(args.data, out, args.init, writer=writer, cache=args.cache) as local:
        if job.cards > 1 and first:
            check_shares(recipe.training, job.cards)
            if writer:  # said at once, rather than by the first card when all have started
                with alone_in(local.out):
                    pass
            launch(args.argv, job, local.out / "logs" / f"node{job.node_rank}")
            return 0
        return _train(args, recipe, genome, local)


def _train(args: argparse.Namespace, recipe: Recipe, genome: Genome, local: Local) -> int:
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
        init=Init(local.init, args.drop_head) if local.init else None,
    )
    print(summary(result.metrics))
    print(f"\nbest AP     {result.best_ap:.3f}")
    print(f"checkpoint  {result.best}")
    print(f"curves      {local.out / 'figures' / 'curves.svg'}")
    return 0
