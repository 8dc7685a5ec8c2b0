"""``nasfpn search``: look for a pyramid on a data set."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.errors import UsageError
from tools.options import add_overrides, seed

if TYPE_CHECKING:
    from optuna.study import Study

    from search_space import Level, NASFPNSpace

HELP = "search for a pyramid: propose genomes, train each briefly, learn from the scores"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="data set")
    add("--out", type=Path, required=True, metavar="DIR", help="run folder; again: goes on")
    add("--recipe", required=True, help="name or YAML file of the short training")
    add("--controller", default="ppo", help="ppo, random, evolution, local-search, tpe or nsga2")
    add("--trials", type=int, default=60, help="genomes to train, earlier runs included")
    add("--seed", type=seed, default=0, help="of the controller and of every training")
    add_overrides(parser)
    add("--levels", default="3-7", metavar="A-B", help="of the pyramids (default: 3-7)")
    add("--intermediate-cells", type=int, default=2, metavar="N", help="(default: 2)")
    add("--timeout", type=float, metavar="SECONDS", help="a genome that takes longer has failed")
    add("--storage", metavar="URL", help="Optuna storage instead of DIR/study.journal")
    add("--device", default="CPU", choices=("CPU", "Ascend"), help="of the trainings")


def run(args: argparse.Namespace) -> int:
    """Search, or go on with the search in the run folder."""
    from search_space import NASFPNSpace

    run_search(
        args.data,
        args.out,
        recipe=args.recipe,
        controller=args.controller,
        trials=args.trials,
        seed=args.seed,
        overrides=args.overrides,
        timeout=args.timeout,
        storage=args.storage,
        device=args.device,
        space=NASFPNSpace(_levels(args.levels), args.intermediate_cells),
    )
    return 0


def _levels(text: str) -> tuple[Level, ...]:
    from search_space import Level

    found = re.fullmatch(r"(\d+)-(\d+)", text)
    if found is None:
        raise UsageError(f"--levels is the finest and the coarsest, such as 3-6, got {text!r}")
    return tuple(Level(level) for level in range(int(found[1]), int(found[2]) + 1))


def run_search(
    data: Path,
    out: Path,
    *,
    recipe: str,
    controller: str = "ppo",
    trials: int = 60,
    seed: int = 0,
    overrides: Sequence[str] = (),
    timeout: float | None = None,
    storage: str | None = None,
    device: str = "CPU",
    space: NASFPNSpace | None = None,
) -> Study:
    """Search, leave ``best.json`` and ``figures/`` in the run folder, and print where.

    Raises:
        UsageError: data, recipe, controller or run folder cannot be used.
        SearchError: the candidates keep failing.
        KeyboardInterrupt: what is done is kept, and the pictures are drawn.
    """
    from controllers import create_sampler
    from controllers.search import SearchSettings, search
    from controllers.study import open_study
    from search_space import NASFPNSpace

    space = space or NASFPNSpace()
    if trials < 1:
        raise UsageError(f"--trials is 1 or more, got {trials}")
    arguments = {
        "recipe": recipe,
        "overrides": list(overrides),
        "data": str(data.resolve()),
        "seed": seed,
        "device": device,
    }
    identity = _identity(data, space, controller, arguments)
    sampler = create_sampler(controller, space, seed)
    study = open_study(out, identity, sampler, storage)
    _write_config(out / "config.yaml", {**identity, "data_folder": str(data.resolve())})
    if controller == "ppo":
        from nasfpn_runtime.cluster.device import set_device

        set_device("CPU")  # the policy is small; an accelerator is for the trainings
    try:
        search(study, space, SearchSettings(out, trials, arguments, timeout=timeout))
    finally:
        _report(study, out)
    return study


def _identity(
    data: Path, space: NASFPNSpace, controller: str, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what must be the same when the search is resumed, after checking the data."""
    from dataclasses import asdict

    from nasfpn_runtime.data.dataset import load_split
    from nasfpn_runtime.recipe.recipe import load_recipe

    for split in ("train", "val"):
        load_split(data, split)
    recipe = asdict(load_recipe(arguments["recipe"], arguments["overrides"]))
    del recipe["description"]  # may be put in better words
    return {
        "controller": controller,
        "seed": arguments["seed"],
        "space": asdict(space),
        "recipe": recipe,
        "annotations": _fingerprint(data),
    }


def _fingerprint(data: Path) -> str:
    """Return a hash of the annotation files: the same data set in another place has the same."""
    import hashlib

    digest = hashlib.sha256()
    for path in sorted((data / "annotations").glob("*.json")):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _write_config(path: Path, config: Mapping[str, Any]) -> None:
    import json

    import yaml

    # Through JSON: levels and tuples become what YAML can say.
    text = yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False)
    path.write_text(text, encoding="utf-8")


def _report(study: Study, out: Path) -> None:
    from controllers.figures import draw_search
    from search_space import draw_genome, load_genome

    best = out / "best.json"
    if not best.exists():
        return
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    draw_search(study.get_trials(deepcopy=False), figures / "search.svg")
    genome = load_genome(best)
    draw_genome(genome, figures / "best.svg")
    print(f"\nbest value  {study.best_value:.4f} (trial {study.best_trial.number})")
    for cell in genome.cells:
        print(f"  {cell.level}  {cell.op:9}  {', '.join(map(str, cell.inputs))}")
    for name, path in (
        ("genome", best),
        ("search", figures / "search.svg"),
        ("picture", figures / "best.svg"),
    ):
        print(f"{name:11} {path}")
